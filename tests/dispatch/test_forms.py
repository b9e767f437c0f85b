"""The three forms of dispatch do the same, and gathers are only gathers."""

import keras
import numpy as np
import pytest
from helpers_dispatch import ON_JAX, numpy, with_gradients
from helpers_routing import POLICIES, assign, name
from keras import ops

from keras_switch.dispatch import DroplessDispatch, EinsumDispatch, GatherDispatch
from keras_switch.routing import Argmax, CapacityFactor, ExpertChoice, Switch, TopK

G, S, E, D, F = 2, 9, 5, 3, 4
ARGMAX = Switch(exploration=Argmax())


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    sizes = (G, S, D), (G, S, E), (E, D, F), (E, F, D), (G, S, D)
    return [draw(size).astype("float32") for size in sizes]


def mixture(form, policy, mask=None, capacity=3):
    """Returns a function from x, logits, wi, wo and a cotangent to a scalar."""

    def run(x, logits, wi, wo, cotangent):
        assignment = policy.assign(
            logits,
            mask,
            capacity=capacity,
            seed=keras.random.SeedGenerator(0),
            token_ids=np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2]),
        )
        route = form.route(assignment)
        rows = route.dispatch(x)
        if route.owner is not None:
            wi, wo = (ops.take(w, route.owner, axis=0) for w in (wi, wo))
        rows = ops.matmul(ops.tanh(ops.matmul(rows, wi)), wo)
        return ops.sum(route.combine(rows) * cotangent)

    return run


@pytest.mark.parity
@pytest.mark.parametrize("form", [GatherDispatch(), DroplessDispatch()], ids=str)
@pytest.mark.parametrize("policy", POLICIES, ids=name)
def test_value_and_all_gradients_equal_those_of_one_hot_products(data, policy, form):
    mask = np.ones((G, S), bool)
    mask[1, 5:] = False
    expected = with_gradients(mixture(EinsumDispatch(), policy, mask), data)
    got = with_gradients(mixture(form, policy, mask), data)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_the_size_of_a_block_changes_nothing(data, size):
    expected = with_gradients(mixture(DroplessDispatch(), TopK(2)), data)
    got = with_gradients(mixture(DroplessDispatch(size), TopK(2)), data)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_dropless_serves_every_choice(data):
    x, logits = data[:2]
    policy = TopK(2)
    route = DroplessDispatch().route(assign(policy, logits, capacity=None))
    # Experts that double what they get: the output is 2 * sum of gates * x.
    y = numpy(route.combine(2 * route.dispatch(x)))
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    gates = np.sort(probs, axis=-1)[..., -2:].sum(-1, keepdims=True)
    np.testing.assert_allclose(y, 2 * gates * x, atol=1e-5)


@pytest.mark.parametrize(
    "form", [EinsumDispatch(), GatherDispatch(), DroplessDispatch()], ids=str
)
def test_each_row_is_the_token_it_was_made_for_and_empty_rows_are_zero(data, form):
    # One group of four tokens, three experts with two rows: experts 2, 0, 2, 2.
    x = np.arange(1, 9, dtype="float32").reshape(1, 4, 2)
    logits = np.eye(3, dtype="float32")[[[2, 0, 2, 2]]]
    route = form.route(assign(ARGMAX, logits, capacity=2))
    rows = numpy(route.dispatch(x))
    if route.owner is None:
        zero = [0, 0]
        expected = [[[3, 4], zero], [zero, zero], [[1, 2], [5, 6]]]
        np.testing.assert_array_equal(rows, expected)
    served = {tuple(row) for row in rows.reshape(-1, 2)} - {(0, 0)}
    assert served == {(1, 2), (3, 4), (5, 6)}


@pytest.mark.parametrize(
    "form", [EinsumDispatch(), GatherDispatch(), DroplessDispatch()], ids=str
)
def test_a_dropped_token_gets_exactly_zero(data, form):
    x = np.full((1, 3, 2), 7.0, "float32")
    logits = np.eye(3, dtype="float32")[[[1, 1, 1]]]
    route = form.route(assign(ARGMAX, logits, capacity=2))
    y = numpy(route.combine(route.dispatch(x) + 1))
    assert np.all(y[0, :2] > 0)
    np.testing.assert_array_equal(y[0, 2], 0)


@pytest.mark.parametrize(
    "form", [EinsumDispatch(), GatherDispatch(), DroplessDispatch()], ids=str
)
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 2)])
def test_few_tokens_and_few_choices_work(form, shape):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((*shape, D)).astype("float32")
    logits = rng.standard_normal((*shape, 8)).astype("float32")
    route = form.route(assign(ARGMAX, logits, capacity=1))
    gate = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).max(-1)
    y = numpy(route.combine(route.dispatch(x)))
    kept = y.any(-1)
    assert kept[:, 0].all()  # the first token of a group always finds room
    np.testing.assert_allclose(y[kept], (gate[..., None] * x)[kept], atol=1e-6)


def test_a_decoding_step_costs_no_more_with_more_experts():
    for num_experts in (8, 64):
        logits = np.random.default_rng(0).standard_normal((2, 1, num_experts))
        route = DroplessDispatch().route(assign(TopK(2), logits, capacity=None))
        assert route.blocks == (4, 1)
        assert DroplessDispatch(8).blocks(4, num_experts) == (4, 8)


@pytest.mark.parametrize("num_experts", [2, 8, 32])
def test_blocks_always_suffice_and_belong_to_one_expert(num_experts):
    rng = np.random.default_rng(num_experts)
    for size in (1, 3, 16):
        # Skewed on purpose: expert 0 is asked for most often.
        logits = rng.standard_normal((2, 50, num_experts))
        logits[..., 0] += 2
        assignment = assign(ARGMAX, logits, capacity=None)
        route = DroplessDispatch(size).route(assignment)
        choice = numpy(route.choice).reshape(route.blocks)
        asked = numpy(assignment.expert).reshape(-1)
        owner = numpy(route.owner)
        seen = []
        for block, expert in zip(choice, owner, strict=True):
            tokens = block[block < 100]
            assert np.all(asked[tokens] == expert)
            seen += list(tokens)
        assert sorted(seen) == list(range(100))


@pytest.mark.parametrize("size", [None, 4])
def test_dropless_has_room_for_what_experts_choose_and_no_more(size):
    # Each of 4 experts takes 3 of 24 tokens a group: 24 of 192 choices.
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((2, 24, 4)).astype("float32")
    x = rng.standard_normal((2, 24, 5)).astype("float32")
    policy = ExpertChoice(capacity=CapacityFactor(eval=0.5, minimum=1))
    assignment = assign(policy, logits, capacity=None)
    assert assignment.capacity == 3
    route = DroplessDispatch(size).route(assignment)
    rows = route.dispatch(x)
    # No more than 24 rows, and a part of a block an expert.
    assert rows.shape == {None: (5, 16, 5), 4: (9, 4, 5)}[size]
    assert np.any(numpy(rows), axis=-1).sum() == 24
    expected = GatherDispatch().route(assignment)
    expected = numpy(expected.combine(2 * expected.dispatch(x)))
    np.testing.assert_allclose(numpy(route.combine(2 * rows)), expected, atol=1e-6)


def test_combining_adds_up_in_float32():
    # Two answers of 1 and one of 2^-8: in bfloat16 each partial sum would lose it.
    rows = ops.cast(np.array([[[1.0]], [[1.0]], [[2.0**-8]]]), "bfloat16")
    logits = np.log(np.array([[[0.5, 0.25, 0.25]]]))
    for form in (EinsumDispatch(), GatherDispatch()):
        route = form.route(assign(TopK(3), logits, capacity=1))
        exact = 0.5 + 0.25 + 0.25 * 2.0**-8
        y = route.combine(rows)
        assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
        expected = float(ops.cast(ops.cast(exact, "bfloat16"), "float32"))
        assert float(ops.cast(y, "float32")[0, 0, 0]) == expected


def ops_and_sizes(form, policy, num_experts, num_tokens=64):
    """Returns the op types of a step's graph, and its largest tensor per token."""
    import tensorflow as tf

    logits = tf.random.stateless_normal((1, num_tokens, num_experts), (0, 0))
    capacity = max(1, num_tokens // num_experts)

    @tf.function
    def step(x, logits):
        with tf.GradientTape() as tape:
            tape.watch([x, logits])
            assignment = policy.assign(logits, capacity=capacity)
            route = form.route(assignment)
            y = route.combine(2.0 * route.dispatch(x))
        return tape.gradient(y, [x, logits])

    width = 4096  # so that whatever has the width of a token stands out
    x = tf.zeros((1, num_tokens, width))
    graph = step.get_concrete_function(x, logits).graph
    assert all(isinstance(t, tf.Tensor) for t in graph.structured_outputs)
    sizes = [
        t.shape.num_elements() or 0 for op in graph.get_operations() for t in op.outputs
    ]
    return {op.type for op in graph.get_operations()}, max(sizes) / width / num_tokens


SCATTERS = ("Scatter", "SegmentSum", "IndexedSlices", "SparseSegment")


@pytest.mark.skipif(ON_JAX, reason="inspects a TensorFlow graph")
@pytest.mark.parametrize("policy", [ARGMAX, TopK(2), ExpertChoice()], ids=name)
def test_a_step_of_gathers_scatters_nothing(policy):
    types, _ = ops_and_sizes(GatherDispatch(), policy, 8)
    assert any(kind.startswith("Gather") for kind in types)
    assert not [kind for kind in types if any(word in kind for word in SCATTERS)]


@pytest.mark.skipif(ON_JAX, reason="inspects a TensorFlow graph")
@pytest.mark.parametrize("policy", [ARGMAX, ExpertChoice()], ids=name)
def test_gathers_need_memory_for_tokens_whatever_the_number_of_experts(policy):
    few = ops_and_sizes(GatherDispatch(), policy, 4)[1]
    many = ops_and_sizes(GatherDispatch(), policy, 32)[1]
    assert many <= few <= 1.01


@pytest.mark.parametrize(
    "form", [EinsumDispatch(), GatherDispatch(), DroplessDispatch(8)], ids=str
)
def test_forms_survive_saving(form):
    config = keras.saving.serialize_keras_object(form)
    assert keras.saving.deserialize_keras_object(config) == form


def test_a_block_has_rows():
    with pytest.raises(ValueError, match="block_size=0"):
        DroplessDispatch(0)
