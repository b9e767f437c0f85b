"""Experts one after the other: the same answers, each expert's weights read once."""

import numpy as np
import pytest
from helpers_dispatch import ON_JAX, numpy
from helpers_routing import assign

from keras_switch.dispatch import DroplessDispatch, InTurnDispatch
from keras_switch.layers import GatedExperts, SwitchFeedForward
from keras_switch.routing import Argmax, Switch, TopK

D, F = 4, 32
ARGMAX = Switch(exploration=Argmax())


def layer_of(num_experts, form, **kwargs):
    layer = SwitchFeedForward(num_experts, F, eval_dispatch=form, **kwargs)
    layer.build((None, None, D))
    rng = np.random.default_rng(0)
    for weight in layer.trainable_weights:
        weight.assign(rng.standard_normal(weight.shape))
    return layer


@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 1), pytest.param((40, 1), marks=pytest.mark.parity), (3, 70)]
)
@pytest.mark.parametrize("routing", [ARGMAX, TopK(2)], ids=["one", "two"])
def test_the_answers_are_those_of_dropless_dispatch(shape, routing):
    x = np.random.default_rng(1).standard_normal((*shape, D)).astype("float32")
    mask = np.arange(shape[1]) < np.maximum(1, np.arange(shape[0])[:, np.newaxis])
    found = [
        numpy(layer_of(8, form, routing=routing)(x, mask=mask))
        for form in (InTurnDispatch(), InTurnDispatch(3), DroplessDispatch())
    ]
    np.testing.assert_allclose(found[0], found[2], atol=1e-5)
    np.testing.assert_allclose(found[1], found[2], atol=1e-5)


def test_it_takes_experts_of_any_kind():
    x = np.random.default_rng(1).standard_normal((6, 1, D)).astype("float32")
    wanted, found = (
        numpy(layer_of(4, form, experts=GatedExperts(4, F, name="experts"))(x))
        for form in (DroplessDispatch(), InTurnDispatch())
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("chosen", [[2], [2, 0, 2, 2], [7] * 20, [*range(8)] * 2])
def test_each_expert_with_tokens_runs_once_and_no_other(chosen):
    logits = np.eye(8, dtype="float32")[chosen].reshape(len(chosen), 1, 8)
    route = InTurnDispatch().route(assign(ARGMAX, logits, capacity=None))
    ran = []

    def experts(rows, owner, training):
        ran.extend(numpy(owner))
        return rows

    route.run(experts, route.dispatch(np.ones((len(chosen), 1, D), "float32")))
    blocks = {expert: -(-chosen.count(expert) // 16) for expert in set(chosen)}
    assert ran == [e for e in sorted(blocks) for _ in range(blocks[e])]


@pytest.mark.skipif(ON_JAX, reason="reads TensorFlow's graphs")
@pytest.mark.parametrize("tokens", [1, 8])
def test_a_step_of_decoding_makes_no_tensor_larger_than_an_expert(tokens):
    import tensorflow as tf

    def largest(num_experts):
        layer = layer_of(num_experts, InTurnDispatch())
        layer.counting = False
        function = tf.function(layer).get_concrete_function(tf.zeros((tokens, 1, D)))
        graphs = [function.graph, *(f.graph for f in functions(function.graph))]
        return {
            op.type: max(size(out) for out in op.outputs)
            for graph in graphs
            for op in graph.get_operations()
            if op.outputs and op.type not in READS
        }

    def functions(graph):
        names = {a.func.name for op in graph.get_operations() for a in attributes(op)}
        return [graph._get_function(name) for name in names - {""}]

    def attributes(op):
        return [value for value in op.node_def.attr.values()]

    def size(tensor):
        shape = tensor.shape
        return shape.num_elements() or 0 if shape.rank is not None else 0

    few, many = largest(4), largest(64)
    # Variables themselves, and what names one without a copy.
    weights = {name for name, size in many.items() if size >= 64 * D * F}
    assert weights <= {"Identity", "While", "StatelessWhile"}
    rest = {n: s for n, s in many.items() if n not in weights}
    assert max(rest.values()) <= max(D * F, tokens * 65)
    assert few.keys() == many.keys()


READS = ("ReadVariableOp", "Placeholder", "Const")
