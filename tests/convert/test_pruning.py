"""Fewer experts: the used ones stay, or all are mixed into them."""

import helpers_models as helpers
import numpy as np
import pytest

from keras_switch import convert, models
from keras_switch.dispatch import FlaxformerGroups
from keras_switch.routing import CapacityFactor, Hash, Switch

ROOMY = Switch(capacity=CapacityFactor(eval=8.0, minimum=12))
LAYERS = ("encoder/block_1/encoder_1", "decoder/block_1/decoder_1")


@pytest.fixture(scope="module")
def model():
    config = helpers.tiny(sparse=models.Sparse(4, routing=ROOMY))
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    helpers.scatter(model)
    return model


def use(*share):
    return {layer: list(share) for layer in LAYERS}


def arrays(model):
    return {weight.path: np.array(weight) for weight in model.weights}


def test_the_used_experts_stay_in_their_order(model):
    found = convert.prune_experts(model, use(0.1, 0.5, 0.0, 0.4), 2)
    assert found.backbone.config.sparse.num_experts == 2
    old, new = arrays(model), arrays(found)
    for layer in LAYERS:
        for name in ("experts/wi", "experts/wo"):
            path = f"{layer}/{name}"
            np.testing.assert_array_equal(new[path], old[path][[1, 3]])
        path = f"{layer}/router/kernel"
        np.testing.assert_array_equal(new[path], old[path][:, [1, 3]])
    same = [path for path in new if not path.startswith(LAYERS)]
    for path in same:
        np.testing.assert_array_equal(new[path], old[path])
    assert len(same) == len(new) - 6


def test_nothing_is_lost_where_only_the_used_experts_were_visited(model):
    # The logits of two experts are pushed down: no token goes there.
    routers = [w for w in model.weights if w.path.endswith("router/kernel")]
    before = [np.array(router) for router in routers]
    batch = helpers.inputs(model.backbone.config)
    with models.recorded_assignments(model) as routes:
        model(batch)
    used = {np.asarray(a.expert).ravel()[0] for a in routes.values()}
    assert used  # random routers send tokens somewhere
    load = {}
    for layer, name in zip(LAYERS, ("encoder_1", "decoder_1"), strict=True):
        experts = np.asarray(routes[name].expert).ravel()
        load[layer] = list(np.bincount(experts, minlength=4) / experts.size)
    every = convert.prune_experts(model, load, 4, convert.MergeSimilar())
    np.testing.assert_array_equal(every(batch), model(batch))
    assert convert.pruning.kept_share(load, 4) == pytest.approx(1)
    for router, value in zip(routers, before, strict=True):
        np.testing.assert_array_equal(router, value)


def test_experts_that_go_are_mixed_into_the_most_similar_by_use():
    router = np.array([[1.0, 0.0, 0.9, 0.1], [0.0, 1.0, 0.1, 0.9]])
    load = np.array([0.4, 0.3, 0.2, 0.1])
    mixture = convert.MergeSimilar().mixture(np.array([0, 1]), load, router)
    np.testing.assert_allclose(mixture, [[2 / 3, 0, 1 / 3, 0], [0, 3 / 4, 0, 1 / 4]])
    idle = np.zeros(4)
    mixture = convert.MergeSimilar().mixture(np.array([0, 1]), idle, router)
    np.testing.assert_array_equal(mixture, np.eye(4)[:2])


def test_merged_experts_are_their_mixture(model):
    load = use(0.4, 0.3, 0.2, 0.1)
    found = convert.prune_experts(model, load, 1, convert.MergeSimilar())
    path = f"{LAYERS[0]}/experts/wi"
    wanted = np.tensordot([0.4, 0.3, 0.2, 0.1], arrays(model)[path], 1)
    np.testing.assert_allclose(arrays(found)[path][0], wanted, rtol=1e-5)


def test_groups_that_count_experts_follow():
    sparse = models.Sparse(4, routing=ROOMY, groups=FlaxformerGroups(8, 4))
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(helpers.tiny(sparse=sparse)))
    found = convert.prune_experts(model, use(1, 1, 1, 1), 2).backbone.config
    assert found.sparse.groups == FlaxformerGroups(8, 2)


def test_the_share_kept_is_the_mean_of_layers():
    load = {"a": [0.5, 0.3, 0.2], "b": [0.0, 0.1, 0.9]}
    assert convert.pruning.kept_share(load, 1) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("changes", "load", "number", "message"),
    [
        ({"sparse": None}, {}, 1, "the model has none"),
        ({}, use(1, 1, 1, 1), 5, "give a number from 1 to 4"),
        ({}, use(1, 1), 1, "has 2 entries for 4 experts"),
        ({}, {LAYERS[0]: [1, 1, 1, 1]}, 1, "the load is of the layers"),
        ({"sparse": models.Sparse(4, routing=Hash())}, use(1, 1, 1, 1), 1, "no router"),
    ],
)
def test_what_cannot_be_pruned_is_refused(changes, load, number, message):
    config = helpers.tiny(**changes)
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    with pytest.raises(convert.ConversionError, match=message):
        convert.prune_experts(model, load, number)
