"""What is said of a model in T5X's gin files."""

import helpers_checkpoints as checkpoints
import helpers_models
import pytest
from helpers_t5x import sparse

from keras_switch import convert, models
from keras_switch.convert import t5x_gin
from keras_switch.routing import TopK


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (helpers_models.tiny(architecture="decoder-only"), "needs an encoder-decoder"),
        (helpers_models.tiny(sparse=None), "its dense models have"),
        (helpers_models.tiny(layer_norm_epsilon=1e-5), "it has 1e-6"),
        (sparse(helpers_models.tiny(num_layers=4), placement=models.Even()), "layouts"),
        (
            sparse(helpers_models.tiny(), routing=TopK(2, renormalize=True)),
            "none like it",
        ),
    ],
)
def test_what_t5x_cannot_run_is_not_written(config, message):
    with pytest.raises(convert.ConversionError, match=message):
        t5x_gin.to_t5x(config)


def test_what_can_only_be_said_nearly_is_told():
    _, notes = t5x_gin.to_t5x(checkpoints.small().backbone.config)
    assert len(notes) == 2 and "no fixed capacity" in notes[0]


def test_losses_that_are_added_over_layers_weigh_as_many_times():
    config = sparse(helpers_models.tiny(), layer_losses=models.LayerSum())
    text, _ = t5x_gin.to_t5x(config)  # of two sparse layers; T5X takes their mean
    assert "AUX_LOSS_FACTOR = 0.02\n" in text
    assert "ROUTER_Z_LOSS_FACTOR = 0.002\n" in text
