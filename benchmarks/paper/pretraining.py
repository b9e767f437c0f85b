"""Findings about pre-training: which cases each compares.

`DENSE` is the FLOP-matched twin of every sparse case: a token meets as many weights,
but for the router's.
"""

import dataclasses

from benchmarks.paper.runs import Case
from keras_switch.dispatch import FixedGroups
from keras_switch.models import ModelConfig, Odd, Sparse
from keras_switch.routing import (
    Argmax,
    CapacityFactor,
    InputDropout,
    InputJitter,
    Sample,
    Switch,
    TopK,
)

DENSE = ModelConfig(
    vocab_size=1024,
    num_sentinels=100,
    d_model=64,
    d_ff=64,
    d_kv=32,
    num_heads=2,
    num_layers=4,
    architecture="decoder-only",
    tie_embeddings=False,
)


def sparse(num_experts=8, routing=None, **changes):
    """Returns the twin of `DENSE` with experts; `changes` of the `ModelConfig`."""
    routing = routing or Switch(exploration=Argmax())
    layers = Sparse(num_experts, None, Odd(), None, routing, groups=FixedGroups(4096))
    return dataclasses.replace(DENSE, sparse=layers, **changes)


def _experts():
    sizes = (1, 2, 4, 8, 16, 32, 64)
    return [Case("dense", DENSE), *(Case(f"{n} experts", sparse(n)) for n in sizes)]


def _choices():
    for train in (2.0, 1.25, 1.0):
        capacity = CapacityFactor(train=train, eval=2.0)
        switch = Switch(capacity=capacity, exploration=Argmax())
        top2 = TopK(2, capacity=capacity, exploration=Argmax())
        yield Case(f"switch, capacity {train}", sparse(routing=switch))
        yield Case(f"top-2, capacity {train}", sparse(routing=top2))


def _precision():
    for dtype in ("float32", "bfloat16", "mixed_bfloat16"):
        yield Case(dtype, sparse(32), dtype=dtype)


def _initialization():
    for scale in (0.1, 1.0):
        yield Case(f"scale {scale}", sparse(32, init_scale=scale))


def _exploration():
    for policy in (Argmax(), InputJitter(), InputDropout(), Sample()):
        name = type(policy).__name__
        yield Case(name, sparse(routing=Switch(exploration=policy)))


def _capacity():
    for weight in (1e-2, 0.0):
        for train in (0.5, 0.75, 1.0, 1.25, 1.5, 2.0):
            routing = Switch(
                capacity=CapacityFactor(train=train, eval=2.0),
                exploration=Argmax(),
                balance_loss_weight=weight,
            )
            yield Case(f"balance {weight}, capacity {train}", sparse(routing=routing))


FINDINGS = {
    "experts": ("More experts, equal FLOPs (figures 1, 4)", _experts),
    "choices": ("One expert a token or two, equal capacity (table 1)", _choices),
    "precision": ("Precision, 32 experts (table 2)", _precision),
    "initialization": (
        "Scale of the initializer, 32 experts (table 3)",
        _initialization,
    ),
    "exploration": ("Exploration (table 11)", _exploration),
    "capacity": ("Tokens dropped (section 2.2)", _capacity),
}
