"""Dense models made sparse: the function stays where gates are normalised."""

import helpers_models as helpers
import numpy as np
import pytest

from keras_switch import convert, models
from keras_switch.routing import CapacityFactor, Switch, TopK

ROOMY = CapacityFactor(eval=8.0, minimum=12)


def dense(**changes):
    config = helpers.tiny(sparse=None, **changes)
    two = len(config.stacks) == 2
    task = models.SwitchSeq2SeqLM if two else models.SwitchCausalLM
    model = task(models.SwitchBackbone(config))
    helpers.scatter(model)
    return model


def logits(model):
    return np.asarray(model(helpers.inputs(model.backbone.config)))


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize(
    "changes", [{}, {"mlp": models.GatedMlp()}, {"architecture": "decoder-only"}]
)
def test_normalised_gates_keep_the_function(k, changes):
    model = dense(**changes)
    routing = TopK(k, renormalize=True, capacity=ROOMY)
    sparse = convert.upcycle(model, models.Sparse(4, routing=routing))
    assert sparse.backbone.config.sparse.num_experts == 4
    np.testing.assert_allclose(logits(sparse), logits(model), atol=1e-5)


def test_by_default_two_experts_of_eight_share_a_token():
    sparse = convert.upcycle(dense()).backbone.config.sparse
    assert sparse.num_experts == 8
    assert sparse.routing == TopK(2, renormalize=True)


def test_experts_are_copies_and_routers_are_fresh():
    model = dense()
    sparse = convert.upcycle(model, models.Sparse(3, routing=Switch(capacity=ROOMY)))
    weights = {w.path: np.array(w) for w in sparse.weights}
    old = {w.path: np.array(w) for w in model.weights}
    for kernel in ("wi", "wo"):
        experts = weights[f"decoder/block_1/decoder_1/experts/{kernel}"]
        for expert in experts:
            np.testing.assert_array_equal(expert, old[f"decoder/block_1/mlp/{kernel}"])
    router = weights["decoder/block_1/decoder_1/router/kernel"]
    assert np.abs(router).max() > 0 and len(np.unique(router)) > 20
    # Raw gates scale the answers: this is another function.
    assert np.abs(logits(sparse) - logits(model)).max() > 0.01


@pytest.mark.parametrize(
    ("sparse", "message"),
    [
        (models.Sparse(4, d_ff=32), "sparse.d_ff=32: experts are copies"),
        (models.Sparse(4, extra_mlp=models.PlainMlp()), "no weights for it"),
    ],
)
def test_experts_of_another_form_are_refused(sparse, message):
    with pytest.raises(convert.ConversionError, match=message):
        convert.upcycle(dense(), sparse)


def test_a_sparse_model_is_not_upcycled():
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(helpers.tiny()))
    with pytest.raises(convert.ConversionError, match="it has experts already"):
        convert.upcycle(model)
