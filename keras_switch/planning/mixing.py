"""What the layers that mix tokens do: attention, Fourier transforms."""

import math

from keras_switch.planning.operations import Product, Read, Saved, Transform
from keras_switch.planning.sizes import Sizes

_KEYS = ("batch", "keys", "kv_heads", "d_kv")


def attention(
    name: str,
    sizes: Sizes,
    bias: bool = False,
    rotary: bool = False,
    reads: str | None = None,
) -> list:
    """Returns what `layers.Attention` does.

    Args:
        name: where in the model.
        sizes: `keys` is the length of what is attended to.
        bias: whether a position bias is added to the logits.
        rotary: whether queries and keys are turned.
        reads: name of the activation that it mixes, if something else reads it too;
            `"context"` for keys and values of an encoder's output.
    """
    own = Read(reads or f"{name}/x")
    theirs = own
    if reads == "context":  # the same for all blocks; the queries are another's
        own, theirs = None, Read(reads, once=True)
    t, island = sizes.tensor, sizes.island
    weight = ("d_model", "kv_heads", "d_kv")
    into, heads = ("batch", "keys", "d_model"), ("batch", "length", "heads", "d_kv")
    stream, scores = (
        ("batch", "length", "d_model"),
        ("batch", "heads", "length", "keys"),
    )
    found = [
        sizes.project(
            f"{name}/query", stream, ("d_model", "heads", "d_kv"), heads, left_read=own
        ),
        sizes.project(f"{name}/key", into, weight, _KEYS, left_read=theirs),
        sizes.project(f"{name}/value", into, weight, _KEYS, left_read=theirs),
        Product(
            f"{name}/scores",
            island("batch", "heads", "length", "d_kv"),
            island("batch", "heads", "keys", "d_kv"),
            island(*scores),
            stored=island(*_KEYS),
        ),
        Product(
            f"{name}/mix",
            t(*scores),
            t("batch", "heads", "keys", "d_kv"),
            t("batch", "heads", "length", "d_kv"),
            stored=t(*_KEYS),
        ),
        sizes.project(f"{name}/output", heads, ("heads", "d_kv", "d_model"), stream),
        Saved(f"{name}/query", island(*heads)),
        Saved(f"{name}/key", island(*_KEYS)),
        Saved(f"{name}/value", t(*_KEYS)),
        Saved(f"{name}/probabilities", island(*scores)),
        Saved(f"{name}/mixed", t(*heads)),
    ]
    if sizes.dtype != "float32":
        found.append(Saved(f"{name}/rounded probabilities", t(*scores)))
    if bias:
        found.append(_bias(name, sizes))
    if rotary:
        turns = island("length", "d_kv")
        found += [Saved(f"{name}/{of} turns", turns) for of in ("query", "key")]
    return found


def _bias(name, sizes):
    """Returns the sum of logits and bias: its gradient is summed over the batch.

    All blocks of a stack add the same bias.
    """
    return Product(
        f"{name}/bias",
        sizes.island("batch", "heads", "length", "keys"),
        sizes.island("heads", "length", "keys"),
        sizes.island("batch", "heads", "length", "keys"),
        matmul=False,
        right_read=Read(f"{name.split('/')[0]}/bias", once=True),
    )


def fourier(name: str, sizes: Sizes) -> list:
    """Returns what `layers.FourierMixing` does: a float32 transform of both axes."""
    x = sizes.island("batch", "length", "d_model")
    batch, length, d_model = x.shape
    points = length * d_model
    flops = batch * math.ceil(5 * points * math.log2(points))
    return [Transform(f"{name}/transform", x, flops)]
