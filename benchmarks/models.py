"""Cases of whole training steps: forward, backward, optimizer.

Axes: B batch, L length of the inputs, T length of the targets.
"""

import dataclasses

import keras
import numpy as np

from benchmarks.common import Absent, Case, cores
from keras_switch import models, training
from keras_switch.routing import CapacityFactor, Switch

RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a batch.

    Args:
        batch: B.
        inputs: L.
        targets: T.
    """

    batch: int
    inputs: int
    targets: int

    @property
    def tokens(self):
        return self.batch * (self.inputs + self.targets)


TINY = Shape(batch=128, inputs=32, targets=8)  # as in runs/demo.gin
BASE = Shape(batch=8, inputs=256, targets=64)
BASE_CONFIG = models.ModelConfig(
    vocab_size=32128,
    d_model=768,
    d_ff=3072,
    d_kv=64,
    num_heads=12,
    num_layers=2,
    sparse=models.Sparse(
        num_experts=8, routing=Switch(capacity=CapacityFactor(minimum=1))
    ),
)
"""Switch-Base-8 cut to two layers of twelve in each stack, one of them sparse."""


def batches(shape, vocab_size, count=4):
    """Returns triples of NumPy arrays: input ids, decoder's input ids, targets."""
    rng = np.random.default_rng(0)
    triples = []
    for _ in range(count):
        ids = rng.integers(3, vocab_size, (shape.batch, shape.inputs), "int32")
        targets = rng.integers(3, vocab_size, (shape.batch, shape.targets), "int32")
        triples.append((ids, np.pad(targets[:, :-1], ((0, 0), (1, 0))), targets))
    return triples


def ours(name, config, shape, optimizer="adamw"):
    """Returns the case of a step of this library's `TrainStep`."""
    model, data = batch_of(config, shape)
    step = step_of(model, optimizer)
    return Case(name, lambda i: float(step(data[i % len(data)])["loss"]))


def step_of(model, optimizer):
    """Returns the `TrainStep` of a model."""
    loss = training.losses.TokenCrossEntropy()
    return training.TrainStep(model, _optimizer(optimizer), loss)


def batch_of(config, shape):
    """Returns a model, and batches for it."""
    import tensorflow as tf

    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    ones = tf.ones((shape.batch, shape.inputs), "int32")
    data = [
        (
            {
                "encoder_token_ids": tf.constant(ids),
                "encoder_padding_mask": ones,
                "decoder_token_ids": tf.constant(before),
                "decoder_padding_mask": tf.ones_like(before),
            },
            tf.constant(targets),
            tf.ones(targets.shape),
        )
        for ids, before, targets in batches(shape, config.vocab_size)
    ]
    return model, data


def _optimizer(name):
    if name == "adafactor":
        return training.Adafactor(RATE)
    return {"adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}[name](RATE)


def hugging_face(name, config, shape, optimizer="adamw"):
    """Returns the case of Hugging Face's PyTorch model of the same sizes."""
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise Absent(f"{error.name} is not installed") from error
    torch.set_num_threads(cores())
    model = _hugging_face_model(transformers, config, shape)
    update = {
        # Its fastest form on a CPU.
        "adamw": lambda p: torch.optim.AdamW(p, RATE, fused=True),
        "sgd": lambda p: torch.optim.SGD(p, RATE, fused=True),
    }[optimizer](model.parameters())
    data = [
        [torch.from_numpy(x).long() for x in triple]
        for triple in batches(shape, config.vocab_size)
    ]

    def run(i):
        ids, before, targets = data[i % len(data)]
        loss = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            decoder_input_ids=before,
            labels=targets,
            output_router_logits=True,
        ).loss
        loss.backward()
        update.step()
        update.zero_grad(set_to_none=True)
        return loss.item()

    return Case(name, run)


def _hugging_face_model(transformers, config, shape):
    sparse = config.sparse
    factor = sparse.routing.capacity.train
    options = transformers.SwitchTransformersConfig(
        vocab_size=config.vocab_size,
        d_model=config.d_model,
        d_kv=config.d_kv,
        d_ff=config.d_ff,
        num_heads=config.num_heads,
        num_layers=config.num_layers,
        num_decoder_layers=config.num_layers,
        num_sparse_encoder_layers=len(config.sparse_layers("encoder")),
        num_sparse_decoder_layers=len(config.sparse_layers("decoder")),
        num_experts=sparse.num_experts,
        expert_capacity=int(factor * shape.inputs / sparse.num_experts),
        dropout_rate=config.dropout_rate,
        router_jitter_noise=1e-2,
        decoder_start_token_id=0,
    )
    model = transformers.SwitchTransformersForConditionalGeneration(options)
    ours = models.count(config).total
    theirs = sum(p.numel() for p in model.parameters())
    if theirs != ours:
        raise ValueError(
            f"Models differ: {theirs} parameters in theirs, {ours} in ours."
        )
    return model.train()
