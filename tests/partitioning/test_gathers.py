"""What runs on a mesh only, against what runs elsewhere."""

import keras
import numpy as np
import pytest
from helpers_dispatch import ON_JAX, with_gradients
from helpers_routing import POLICIES, name
from keras import ops

from keras_switch.dispatch import EinsumDispatch
from keras_switch.dispatch.grouped import GroupedRoute
from keras_switch.partitioning.gathers import look_up, take_rows

G, S, E, D = 2, 9, 5, 3


def mixed(make_route, policy):
    """Returns a function from x, logits, weights and a cotangent to a scalar."""
    mask = np.ones((G, S), bool)
    mask[1, 5:] = False

    def run(x, logits, weights, cotangent):
        assignment = policy.assign(
            logits,
            mask,
            capacity=3,
            seed=keras.random.SeedGenerator(0),
            token_ids=np.arange(G * S).reshape((G, S)),
        )
        route = make_route(assignment)
        rows = ops.tanh(ops.matmul(route.dispatch(x), weights))
        return ops.sum(route.combine(rows) * cotangent)

    return run


@pytest.mark.skipif(ON_JAX, reason="meshes are TensorFlow's")
@pytest.mark.parametrize("policy", POLICIES, ids=name)
def test_gathers_within_groups_equal_one_hot_products(policy):
    draw = np.random.default_rng(0).standard_normal
    data = [draw(size) for size in ((G, S, D), (G, S, E), (E, D, D), (G, S, D))]
    wanted = with_gradients(mixed(EinsumDispatch().route, policy), data)
    found = with_gradients(mixed(lambda a: GroupedRoute(a.slots()), policy), data)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.skipif(ON_JAX, reason="meshes are TensorFlow's")
@pytest.mark.parametrize("shape", [(2, 5), (4,)])
def test_a_table_in_parts_is_looked_up_like_a_whole_one(shape):
    rng = np.random.default_rng(0)
    table, cotangent = rng.standard_normal((8, 3)), rng.standard_normal((*shape, 3))
    ids = rng.integers(0, 8, shape).astype("int32")
    wanted = with_gradients(
        lambda t: ops.sum(ops.take(t, ids, axis=0) * cotangent.astype("float32")),
        [table],
    )
    found = with_gradients(
        lambda t: ops.sum(look_up(t, ids, 4) * cotangent.astype("float32")), [table]
    )
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.skipif(ON_JAX, reason="meshes are TensorFlow's")
def test_rows_are_taken_within_their_group():
    x = np.arange(12.0).reshape(2, 3, 2)
    found = take_rows(x, np.array([[2, 0], [1, 1]]))
    np.testing.assert_array_equal(found, [[[4, 5], [0, 1]], [[8, 9], [8, 9]]])
