"""Findings about pre-training: which cases each compares.

`DENSE` is the FLOP-matched twin of every sparse case: a token meets as many weights,
but for the router's.
"""

import dataclasses

from benchmarks.paper.runs import BATCH, LENGTH, Case
from keras_switch.dispatch import FixedGroups
from keras_switch.models import Every, ModelConfig, RouterOptions, Sparse
from keras_switch.routing import (
    Argmax,
    CapacityFactor,
    GShardTop2,
    InputDropout,
    InputJitter,
    Sample,
    Switch,
)

DENSE = ModelConfig(
    vocab_size=1024,
    num_sentinels=100,
    d_model=64,
    d_ff=64,
    d_kv=32,
    num_heads=2,
    num_layers=2,
    architecture="decoder-only",
    tie_embeddings=False,
)
# Of the routers' initializer. With the 0.1 of all other weights every gate begins near
# one in the number of experts, and a run this short ends before routers are sure.
ROUTER_SCALE = 10.0
EXPERTS = 32  # of the findings that are about something else
EARLY = 1200  # steps of a finding that shows soon


def routing(train=2.0, **options):
    """Returns the policy of a sparse case, with this capacity factor in training."""
    capacity = CapacityFactor(train=train, eval=2.0)
    return Switch(**{"capacity": capacity, "exploration": Argmax(), **options})


def sparse(num_experts=EXPERTS, policy=None, **changes):
    """Returns the twin of `DENSE` with experts; `changes` of the `ModelConfig`."""
    layers = Sparse(
        num_experts,
        placement=Every(1),
        routing=policy or routing(),
        groups=FixedGroups(BATCH * LENGTH),
        router=RouterOptions(init_scale=ROUTER_SCALE),
    )
    return dataclasses.replace(DENSE, sparse=layers, **changes)


DENSE_CASE = Case("dense", DENSE)


def sparse_case(num_experts):
    """Returns the case of `experts` with so many."""
    return Case(f"{num_experts} experts", sparse(num_experts))


def experts():
    """Returns the cases of figures 1 and 4."""
    cases = [DENSE_CASE, *map(sparse_case, (1, 2, 4, 8, 16, 32, 64))]
    return [("experts", case) for case in cases]


def initialization():
    """Returns those of table 3; scale 0.1 is the case of `experts`."""
    large = Case("scale 1.0", sparse(init_scale=1.0))
    return [("experts", sparse_case(EXPERTS)), ("initialization", large)]


def exploration():
    """Returns those of table 11; Argmax is the case of `experts`."""
    cases = [("experts", sparse_case(EXPERTS))]
    for policy in (InputJitter(), InputDropout(), Sample()):
        model = sparse(policy=routing(exploration=policy))
        cases.append(("exploration", Case(type(policy).__name__, model)))
    return cases


def choices():
    """Returns those of table 1, the dense model first; 32 experts have capacity 2.0."""
    cases = [("experts", DENSE_CASE), ("experts", sparse_case(EXPERTS))]
    for train in (1.25, 1.0):
        name = f"switch, capacity {train}"
        cases.append(("choices", Case(name, sparse(policy=routing(train)))))
    for train in (2.0, 1.25, 1.0):
        capacity = CapacityFactor(train=train, eval=2.0)
        policy = GShardTop2(capacity=capacity, exploration=Argmax())
        name = f"top-2, capacity {train}"
        cases.append(("choices", Case(name, sparse(policy=policy))))
    return cases


def capacity():
    """Returns those of section 2.2: capacity with and without the balance loss."""
    cases = []
    for weight in (1e-2, 0.0):
        for train in (0.5, 0.75, 1.0, 1.25, 1.5, 2.0):
            model = sparse(policy=routing(train, balance_loss_weight=weight))
            name = f"balance {weight}, capacity {train}"
            cases.append(Case(name, model, steps=EARLY))
    return [("capacity", case) for case in cases]


def precision():
    """Returns those of table 2; float32 is the case of `experts`."""
    cases = [("experts", sparse_case(EXPERTS))]
    for dtype in ("bfloat16", "mixed_bfloat16"):
        cases.append(("precision", Case(dtype, sparse(), dtype=dtype)))
    return cases
