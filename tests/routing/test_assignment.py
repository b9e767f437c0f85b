import helpers_routing as helpers
import numpy as np
import pytest
from helpers_routing import numpy

from keras_switch.routing import Switch, TopK

G, S, E = 2, 12, 4
LOGITS = np.random.default_rng(5).normal(size=(G, S, E))
MASK = np.arange(S) < np.array([[S], [7]])


@pytest.mark.parity
@pytest.mark.parametrize("policy", helpers.POLICIES, ids=helpers.name)
@pytest.mark.parametrize("capacity", [1, 3, S])
def test_both_views_agree(policy, capacity):
    assignment = helpers.assign(policy, LOGITS, MASK, capacity)
    dispatch, combine = map(numpy, assignment.one_hot())
    slots = assignment.slots()
    row, kept, gate = map(numpy, (slots.row, slots.kept, slots.gate))
    source, filled = map(numpy, (slots.source, slots.filled))
    choices = row.shape[-1]
    assert row.dtype == source.dtype == "int32"
    assert (row >= 0).all() and (row < E * capacity).all()
    assert (source >= 0).all() and (source < S * choices).all()

    sent = np.zeros((G, S, E * capacity))
    weighted = np.zeros((G, S, E * capacity))
    for g, s, k in zip(*np.nonzero(kept), strict=True):
        sent[g, s, row[g, s, k]] += 1
        weighted[g, s, row[g, s, k]] += gate[g, s, k]
    np.testing.assert_array_equal(sent.reshape(dispatch.shape), dispatch)
    np.testing.assert_allclose(weighted.reshape(combine.shape), combine, atol=1e-7)

    back = np.zeros_like(dispatch)
    for g, e, c in zip(*np.nonzero(filled), strict=True):
        back[g, source[g, e, c] // choices, e, c] += 1
    np.testing.assert_array_equal(back, dispatch)
    assert dispatch.sum(1).max() <= 1  # a row serves one token


def test_a_dropped_choice_is_nowhere_in_either_view():
    logits = np.tile([5.0, 0.0], (1, 3, 1))
    assignment = helpers.assign(Switch(), logits, capacity=2)
    dispatch, combine = map(numpy, assignment.one_hot())
    assert dispatch[0, 2].sum() == combine[0, 2].sum() == 0
    assert numpy(assignment.kept)[0, :, 0].tolist() == [True, True, False]
    assert numpy(assignment.slots().filled)[0].tolist() == [[True] * 2, [False] * 2]


@pytest.mark.parametrize("policy", helpers.POLICIES, ids=helpers.name)
def test_without_a_capacity_nothing_that_asks_is_dropped(policy):
    assignment = helpers.assign(policy, LOGITS, MASK)
    place = numpy(assignment.place)
    np.testing.assert_array_equal(numpy(assignment.kept), place >= 0)
    if policy.causal and policy.padding != "flaxformer":
        np.testing.assert_array_equal(place.max(-1) >= 0, MASK)


@pytest.mark.parametrize("view", ["one_hot", "slots"])
def test_without_a_capacity_there_are_no_rows_to_show(view):
    assignment = helpers.assign(TopK(2), LOGITS)
    with pytest.raises(ValueError, match=rf"capacity=None.*{view}\(\).*capacity=n"):
        getattr(assignment, view)()
