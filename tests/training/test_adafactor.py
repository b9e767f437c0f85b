import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_switch.training.adafactor import Adafactor
from keras_switch.training.factoring import (
    MeshTensorFlowFactoring,
    T5XFactoring,
    Unfactored,
)
from keras_switch.training.losses import TokenCrossEntropy
from keras_switch.training.schedules import InverseSquareRoot

MESH_TENSORFLOW = {
    "default_factor8": {"factoring": MeshTensorFlowFactoring(8)},
    "beta1_0.9": {"factoring": MeshTensorFlowFactoring(8), "beta_1": 0.9},
    "noscale": {
        "factoring": MeshTensorFlowFactoring(8),
        "multiply_by_parameter_scale": False,
    },
    "unfactored": {"factoring": MeshTensorFlowFactoring()},
    "stacked_experts": {"factoring": MeshTensorFlowFactoring(8, ("experts",))},
}


def weight(value, dims=None, name=None, dtype="float32"):
    weight = keras.Variable(value, dtype=dtype, name=name)
    weight.dims = dims or (None,) * len(weight.shape)
    return weight


def steps(optimizer, weights, gradients, jit_compile=False):
    """Applies a list of gradients per step; returns the values after each step."""
    optimizer.build(weights)
    apply = tf.function(lambda g: optimizer.apply(g, weights), jit_compile=jit_compile)
    values = []
    for of_step in gradients:
        apply([tf.constant(g) for g in of_step])
        values.append([w.numpy() for w in weights])
    return values


def slots(optimizer, name):
    return [v for v in optimizer.variables if v.name.endswith(name)]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("case", MESH_TENSORFLOW)
def test_three_steps_are_mesh_tensorflows(goldens, case, jit_compile):
    units = np.load(goldens / "mtf" / "misc_units.npz")
    names = {"w2": None, "we": ("experts", None, None), "b": None, "small": None}
    weights = [weight(units[f"adafactor|init|{n}"], d) for n, d in names.items()]
    gradients = [[units[f"adafactor|grad{i}|{n}"] for n in names] for i in range(3)]
    optimizer = Adafactor(0.05, **MESH_TENSORFLOW[case])
    values = steps(optimizer, weights, gradients, jit_compile)
    for step, of_step in enumerate(values, 1):
        for name, value in zip(names, of_step, strict=True):
            expected = units[f"adafactor|{case}|step{step}|{name}"]
            np.testing.assert_allclose(value, expected, atol=1e-6, err_msg=name)


def test_slots_hold_what_mesh_tensorflows_hold(goldens):
    units = np.load(goldens / "mtf" / "misc_units.npz")
    gradients = [[units[f"adafactor|grad{i}|we"]] for i in range(3)]
    optimizer = Adafactor(0.05, MeshTensorFlowFactoring(8))
    steps(optimizer, [weight(units["adafactor|init|we"])], gradients)
    for name in ("vr", "vc"):
        (slot,) = slots(optimizer, f"_{name}")
        expected = units[f"adafactor|default_factor8|slot|we_slot_{name}"]
        np.testing.assert_allclose(slot, expected, rtol=1e-5)


@pytest.mark.parametrize("model", ["switch_t5v10", "switch_t5v11"])
def test_the_step_after_mesh_tensorflows_checkpoint_is_its_own(goldens, model):
    folder = goldens / "mtf" / model
    before = tf.train.load_checkpoint(str(folder / "ckpt" / "model.ckpt-1000"))
    gradients = np.load(folder / "expected_train.npz")
    after = np.load(folder / "expected_adafactor_step.npz")
    names = [
        name.removeprefix("after_step/")
        for name in after.files
        if f"grad/{name.removeprefix('after_step/')}" in gradients
    ]
    assert len(names) > 20
    weights = [weight(before.get_tensor(name)) for name in names]
    optimizer = Adafactor(0.01, MeshTensorFlowFactoring())
    optimizer.build(weights)
    optimizer.iterations.assign(1000)
    for (slot,), name in zip(optimizer._moments, names, strict=True):
        slot.assign(before.get_tensor(f"{name}_slot_v"))
    got = steps(optimizer, weights, [[gradients[f"grad/{name}"] for name in names]])
    for name, value in zip(names, got[0], strict=True):
        old, gradient = before.get_tensor(name), gradients[f"grad/{name}"]
        moved, expected = value - old, after[f"after_step/{name}"] - old
        # The slots are empty, so that a step is a constant times the gradient's sign;
        # near 0 the sign in the file is not that of the run behind expected_train.
        np.testing.assert_allclose(abs(moved), abs(expected), atol=1e-6, err_msg=name)
        clear = abs(gradient) > 0.03 * abs(gradient).max()
        np.testing.assert_allclose(
            moved[clear], expected[clear], atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("model", ["switch_base_tiny", "switch_c_tiny"])
def test_the_first_step_of_a_switch_model_is_t5xs(goldens, model):
    folder = goldens / "flaxformer" / model
    before = np.load(folder / "params.npz")
    gradients = np.load(folder / "expected_train.npz")
    after = np.load(folder / "expected_adafactor_step.npz")
    names = [name for name in after.files if f"grad/{name}" in gradients]
    assert any("expert" in name for name in names)
    weights = [weight(before[name], t5x_dims(name)) for name in names]
    optimizer = Adafactor(0.01, T5XFactoring())
    got = steps(optimizer, weights, [[gradients[f"grad/{name}"] for name in names]])
    for name, value in zip(names, got[0], strict=True):
        np.testing.assert_allclose(value, after[name], atol=1e-6, err_msg=name)


def t5x_dims(name):
    if "/expert/wo" in name:
        return ("experts", "d_ff", "d_model")
    if "/expert/wi" in name:
        return ("experts", "d_model", "d_ff")
    return None


def test_every_expert_is_updated_as_if_it_were_alone():
    rng = np.random.default_rng(1)
    value = rng.normal(size=(3, 4, 5)) * np.array([1, 10, 100]).reshape(3, 1, 1)
    gradient = rng.normal(size=(3, 4, 5)).astype("float32")
    dims = ("experts", "d_model", "d_ff")
    together = steps(Adafactor(0.1), [weight(value, dims)], [[gradient]] * 2)[-1][0]
    alone = [
        steps(
            Adafactor(0.1, T5XFactoring(min_dim_size=1)),
            [weight(value[e])],
            [[gradient[e]]] * 2,
        )[-1][0]
        for e in range(3)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_heads_times_d_kv_counts_as_one_axis_as_in_the_originals():
    rng = np.random.default_rng(1)
    value, gradient = rng.normal(size=(2, 8, 2, 4)).astype("float32")
    dims = ("d_model", "heads", "d_kv")
    for factoring in (MeshTensorFlowFactoring(8), T5XFactoring(8)):
        optimizer = Adafactor(0.1, factoring)
        split = steps(optimizer, [weight(value, dims)], [[gradient]] * 2)
        assert {tuple(s.shape) for s in optimizer._moments[0]} == {(2, 4), (8,)}
        joined = steps(
            Adafactor(0.1, factoring),
            [weight(value.reshape(8, 8))],
            [[gradient.reshape(8, 8)]] * 2,
        )
        np.testing.assert_allclose(
            split[-1][0].reshape(8, 8), joined[-1][0], rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("factoring", [MeshTensorFlowFactoring(2), T5XFactoring(2)])
@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (2, 3, 4), (2, 3, 4, 5)])
def test_weights_of_rank_0_to_4_follow_the_paper_in_float64(factoring, shape):
    rng = np.random.default_rng(len(shape))
    x, g = rng.normal(size=shape), rng.normal(size=shape)
    (got,) = steps(Adafactor(0.1, factoring), [weight(x)], [[g.astype("float32")]])[0]
    np.testing.assert_allclose(got, x - 0.1 * first_update(x, g), rtol=1e-4, atol=1e-6)


def first_update(x, g):
    """Algorithm 5 of arXiv:1804.04235 at t = 0, when all of the past is forgotten."""
    v = g**2 + 1e-30
    if x.ndim > 1:  # here the last two axes are the largest
        rows, columns = v.mean(-1, keepdims=True), v.mean(-2, keepdims=True)
        v = rows * columns / rows.mean(-2, keepdims=True)
    update = g / np.sqrt(v)
    update = update / max(1.0, np.sqrt(np.mean(update**2)))
    return update * max(1e-3, np.sqrt(np.mean(x**2)))


def test_slots_really_save_memory():
    shapes = {
        ("experts", "d_model", "d_ff"): (4, 32, 256),
        ("vocab", "d_model"): (512, 128),
    }
    weights = [weight(np.zeros(s), d) for d, s in shapes.items()]
    optimizer = Adafactor()
    optimizer.build(weights)
    slots = sum(v.numpy().nbytes for v in optimizer.variables if v.shape.rank)
    assert slots == 4 * (4 * (32 + 256) + 512 + 128)
    assert slots < 0.02 * sum(w.numpy().nbytes for w in weights)
    assert sum(1 for v in optimizer.variables if not v.shape.rank) == 2  # step and rate


def test_slots_know_their_dimensions():
    optimizer = Adafactor()
    optimizer.build([weight(np.zeros((2, 3, 4)), ("experts", "d_model", "d_ff"))])
    rows, columns = optimizer._moments[0]
    assert rows.dims == ("experts", "d_model")
    assert columns.dims == ("experts", "d_ff")


def test_the_router_kernel_is_not_taken_for_a_stack_of_experts():
    plan = T5XFactoring(2).plan((4, 8), ("d_model", "experts"))
    assert (plan.rows, plan.columns, plan.scaled) == ((0,), (1,), (0, 1))


def test_before_its_offset_time_stands_still_instead_of_giving_nan():
    g = np.array([1.0, 2.0], "float32")
    early = steps(Adafactor(0.1, step_offset=100), [weight([1.0, 1.0])], [[g]] * 3)
    assert np.isfinite(early).all()
    optimizer = Adafactor(0.1, step_offset=1)
    moved = steps(optimizer, [weight([1.0, 1.0])], [[g], [g], [g * 3]])
    plain = Adafactor(0.1)
    expected = steps(plain, [weight(moved[0][0])], [[g], [g * 3]])
    np.testing.assert_allclose(moved[1:], expected, rtol=1e-6)


def test_bfloat16_weights_are_updated_by_float32_arithmetic():
    value = np.array([[1.0, -2.0], [0.5, 4.0]])
    g = np.array([[1.0, 0.1], [-1.0, 3.0]], "float32")
    optimizer = Adafactor(0.1)
    (low,) = steps(optimizer, [weight(value, dtype="bfloat16")], [[g]])[0]
    (full,) = steps(Adafactor(0.1), [weight(value)], [[g]])[0]
    np.testing.assert_allclose(low.astype("float32"), full, rtol=1e-2)
    assert {slot.dtype for slot in optimizer._moments[0]} == {"float32"}


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_rows_and_columns_without_gradient_stay_and_spoil_nothing(size):
    gradient = np.zeros((4, 3), "float32")
    gradient[1, :2] = size
    optimizer = Adafactor(0.1, T5XFactoring(2))
    values = steps(optimizer, [weight(np.ones((4, 3)))], [[gradient]] * 3)[-1][0]
    moved = values != 1
    np.testing.assert_array_equal(moved, gradient != 0)
    assert np.isfinite(values).all()


def test_the_sparse_gradient_of_an_embedding_counts_repeated_rows_once_each():
    table = np.ones((4, 2), "float32")
    dense = np.array([[0, 0], [3, 3], [0, 0], [1, 1]], "float32")
    sparse = tf.IndexedSlices(
        tf.constant([[1.0, 1], [2, 2], [1, 1]]), tf.constant([1, 1, 3]), [4, 2]
    )
    first, second = weight(table), weight(table)
    a, b = Adafactor(0.1), Adafactor(0.1)
    a.apply([sparse], [first])
    b.apply([tf.constant(dense)], [second])
    np.testing.assert_allclose(first, second)


def model(dtype=None):
    return keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(11, 4, dtype=dtype),
            keras.layers.Dense(11, dtype=dtype),
        ]
    )


def batch():
    ids = np.arange(12).reshape(4, 3) % 11
    return ids, ids, np.ones((4, 3), "float32")


def fit(net, **kwargs):
    ids, targets, weights = batch()
    return net.fit(ids, targets, sample_weight=weights, **kwargs)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fits_a_compiled_model_with_a_schedule(jit_compile):
    net = model()
    optimizer = Adafactor(InverseSquareRoot(1.0, 4))
    net.compile(optimizer, TokenCrossEntropy(), jit_compile=jit_compile)
    history = fit(net, batch_size=4, epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


def test_saved_with_its_model_it_goes_on_as_if_nothing_happened(tmp_path):
    factoring = T5XFactoring(min_dim_size=4, stacked=("experts",))
    net = model()
    net.compile(Adafactor(InverseSquareRoot(), factoring, beta_1=0.5), "mse")
    net.compile(net.optimizer, TokenCrossEntropy())
    fit(net, epochs=2, verbose=0)
    net.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.optimizer.factoring == factoring
    assert again.optimizer.get_config() == net.optimizer.get_config()
    assert json.dumps(net.optimizer.get_config())
    for each in (net, again):
        fit(each, epochs=2, verbose=0, shuffle=False)
    for one, other in zip(net.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_under_mixed_float16_keras_wraps_it_and_skips_steps_that_overflow():
    net = model("mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(Adafactor(0.1), initial_scale=4.0)
    net.compile(optimizer, TokenCrossEntropy())
    fit(net, verbose=0)
    assert int(optimizer.iterations) == 1
    before = [w.numpy() for w in net.weights]
    bad = [np.full(w.shape, np.inf, "float32") for w in net.trainable_weights]
    optimizer.apply([tf.constant(g) for g in bad], net.trainable_weights)
    for old, new in zip(before, net.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert float(optimizer.dynamic_scale) == 2.0


def test_weight_decay_is_off_unless_asked_for():
    zero = [[np.zeros(2, "float32")]]
    (still,) = steps(Adafactor(0.1), [weight([1.0, 2.0])], zero)[0]
    np.testing.assert_array_equal(still, [1, 2])
    (decayed,) = steps(Adafactor(0.1, weight_decay=0.5), [weight([1.0, 2.0])], zero)[0]
    np.testing.assert_allclose(decayed, [0.95, 1.9], rtol=1e-6)


def test_unfactored_keeps_a_moment_for_every_entry():
    optimizer = Adafactor(factoring=Unfactored(("experts",)))
    optimizer.build([weight(np.zeros((2, 256, 256)), ("experts", None, None))])
    assert [s.shape for s in optimizer._moments[0]] == [(2, 256, 256)]
    assert optimizer._plans[0].scaled == (1, 2)


def test_agrees_with_optax_over_many_steps():
    optax = pytest.importorskip("optax")
    rng = np.random.default_rng(3)
    value = rng.normal(size=(8, 16)).astype("float32")
    gradients = rng.normal(size=(5, 8, 16)).astype("float32")
    other = optax.adafactor(0.1, min_dim_size_to_factor=8)
    params, state = value, other.init(value)
    for g in gradients:
        updates, state = other.update(g, state, params)
        params = params + updates
    optimizer = Adafactor(0.1, MeshTensorFlowFactoring(8))
    (got,) = steps(optimizer, [weight(value)], [[g] for g in gradients])[-1]
    np.testing.assert_allclose(got, params, atol=2e-6)
