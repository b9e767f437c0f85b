"""Walks through a model as `models.assembly` builds it and lists what a step does.

The shapes and dtypes are those that the layers use; a test compares the products with
the ones in TensorFlow's graph of the real model.
"""

import dataclasses

from keras_switch.models.config import ENCODER_DECODER, ModelConfig
from keras_switch.models.parts import (
    Fourier,
    Parallel,
    RelativePosition,
    RotaryPosition,
)
from keras_switch.planning import mixing, mlps
from keras_switch.planning.batch import Batch
from keras_switch.planning.operations import Product, Saved, Step
from keras_switch.planning.sizes import Sizes, sizes_of

STREAM = ("batch", "length", "d_model")


def walk(
    config: ModelConfig, batch: Batch, dtype: str = "float32", on_mesh: bool = False
) -> Step:
    """Returns everything that a training step of a model does.

    Args:
        config: the model.
        batch: of the step.
        dtype: compute dtype, `"float32"`, `"bfloat16"` or `"float16"`.
        on_mesh: whether there is more than one device.
    """
    batch = batch.of(config)
    found = []
    for stack in config.stacks:
        sizes = sizes_of(config, batch, stack, dtype, on_mesh)
        if stack == "decoder" and config.architecture == ENCODER_DECODER:
            sizes = sizes.changed(context=batch.length("encoder"))
        found += _stack(config, stack, sizes)
    if "decoder" in config.stacks:
        found += _head(config, sizes)
    saved = tuple(each for each in found if isinstance(each, Saved))
    operations = tuple(each for each in found if not isinstance(each, Saved))
    return Step(operations, saved, config.remat)


def _stack(config, stack, sizes):
    """Returns what a stack does: embedding, blocks by kind, final norm."""
    found = _outside(_embedding(config, stack, sizes))
    sparse = config.sparse_layers(stack)
    kinds = {True: len(sparse), False: config.depth(stack) - len(sparse)}
    for is_sparse, times in kinds.items():
        if times:
            name = f"{stack}/{'sparse' if is_sparse else 'dense'} block"
            block = _block(config, stack, sizes, name, is_sparse)
            found += [dataclasses.replace(each, times=times) for each in block]
    # The scaled copy that logits are made from is kept, not what it is made from.
    read = stack != "decoder"
    return found + _outside(norm(f"{stack}/final_norm", sizes, read))


def _block(config, stack, sizes, name, sparse):
    """Returns what one block does."""
    found = norm(f"{name}/mixer_norm", sizes)
    if stack == "encoder" and isinstance(config.mixer, Fourier):
        found += mixing.fourier(f"{name}/mixer", sizes)
    else:
        bias = isinstance(config.position, RelativePosition)
        rotary = isinstance(config.position, RotaryPosition)
        reads = f"{name}/x" if isinstance(config.block, Parallel) else None
        found += mixing.attention(f"{name}/mixer", sizes, bias, rotary, reads)
    if "context" in sizes.table:
        found += norm(f"{name}/cross_norm", sizes)
        across = sizes.changed(keys=sizes.table["context"])
        found += mixing.attention(f"{name}/cross", across, reads="context")
    reads = f"{name}/x"
    if not isinstance(config.block, Parallel):
        found, reads = [*found, *norm(f"{name}/mlp_norm", sizes, read=not sparse)], None
    if not sparse:
        return found + mlps.dense(f"{name}/mlp", sizes, config.mlp, reads)
    found += mlps.sparse(f"{name}/mlp", sizes, config, config.routing(stack))
    if config.sparse.extra_mlp:
        found += norm(f"{name}/extra_norm", sizes)
        found += mlps.dense(f"{name}/extra", sizes, config.sparse.extra_mlp)
    return found


def norm(name: str, sizes: Sizes, read: bool = True) -> list:
    """Returns what an `RMSNorm` does: statistics and weight are float32.

    Args:
        name: where in the model.
        sizes: of its tensors.
        read: whether the gradient of what follows reads the result.
    """
    x, scale = sizes.island(*STREAM), sizes.island("d_model")
    found = [
        Product(name, x, scale, x, weight=True, matmul=False),
        Saved(f"{name}/input", x),
        Saved(f"{name}/normal", x),
    ]
    return found + [Saved(f"{name}/result", sizes.tensor(*STREAM))] * read


def _embedding(config, stack, sizes):
    """Returns the look-up, in float32 as its table, and the position bias."""
    found = [
        Product(
            f"{stack}/embedding",
            sizes.tensor("batch", "length", dtype="int64"),
            sizes.island("vocab", "d_model"),
            sizes.island(*STREAM),
            weight=True,
            matmul=False,
            left_gradient=False,
            looked_up=sizes.tensor(*STREAM),
        )
    ]
    mixes = stack == "encoder" and isinstance(config.mixer, Fourier)
    if isinstance(config.position, RelativePosition) and not mixes:
        found.append(
            Product(
                f"{stack}/relative_bias",
                sizes.tensor("length", "keys"),
                sizes.tensor("heads", "buckets"),
                sizes.tensor("heads", "length", "keys"),
                weight=True,
                matmul=False,
                left_gradient=False,
            )
        )
    return found


def _head(config, sizes):
    """Returns logits and cross entropy, both float32."""
    dims = ("d_model", "vocab")
    logits = sizes.island("batch", "length", "vocab")
    found = [
        Product(
            "token_embedding/logits",
            sizes.island(*STREAM),
            sizes.island(*dims),
            logits,
            stored=sizes.island(*dims[::-1]) if config.tie_embeddings else None,
            weight=True,
        ),
        # Their maximum, the sum of exponentials, and the one of the target.
        Product(
            "loss",
            logits,
            sizes.island("vocab"),
            sizes.island("batch", "length"),
            matmul=False,
            right_gradient=False,
            times=3,
        ),
        Saved("token_embedding/input", sizes.island(*STREAM)),
        Saved("loss/probabilities", logits),
    ]
    return _outside(found)


def _outside(found):
    """Returns operations marked as outside the blocks."""
    return [dataclasses.replace(each, in_block=False) for each in found]
