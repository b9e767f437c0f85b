import dataclasses
import json

import keras
import numpy as np
import pytest
from helpers_models import tiny

from keras_switch import dispatch, models, routing, training
from keras_switch.training import config_file, run_folder

SPARSE = models.Sparse(
    num_experts=2,
    placement=models.Mixed(2),
    routing=routing.GShardTop2(second_policy=routing.ThresholdSeconds(0.3)),
    decoder_routing=routing.TopK(2),
    groups=dispatch.FixedGroups(8),
)


@pytest.mark.parametrize(
    "config",
    [
        tiny(sparse=SPARSE, lora=models.Lora(2, targets=("query", "experts"))),
        tiny(position=models.RotaryPosition(), architecture="decoder-only"),
        models.preset("st_moe_32b").config,
    ],
)
def test_a_config_comes_back_from_its_file(tmp_path, config):
    config_file.write(tmp_path, config)
    assert run_folder.config_of(tmp_path) == config


def test_a_file_from_before_a_field_was_there_is_that_of_its_default(tmp_path):
    config_file.write(tmp_path, tiny())
    file = tmp_path / "config.json"
    values = json.loads(file.read_text())
    del values["lora"]
    file.write_text(json.dumps(values))
    config_file.check(tmp_path, tiny())
    assert run_folder.config_of(tmp_path) == tiny()
    with pytest.raises(training.CheckpointError, match=r"lora.rank: absent"):
        config_file.check(tmp_path, tiny(lora=models.Lora()))


def test_a_run_is_opened_by_its_folder(tmp_path):
    config = dataclasses.replace(tiny(), sparse=None)
    made = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    checkpoints = training.Checkpoints(made, model_dir=tmp_path, config=config)
    for step in (3, 5):
        made.weights[0].assign_add(keras.ops.ones(made.weights[0].shape))
        checkpoints.save(step)
    for checkpoint, step in (("newest", 5), (3, 3)):
        model, found = training.load_run(tmp_path, checkpoint)
        assert found == step
        less = 0.0 if step == 5 else 1.0
        np.testing.assert_allclose(
            model.weights[0].numpy(), made.weights[0].numpy() - less, atol=1e-6
        )
    with pytest.raises(training.CheckpointError, match=r"no checkpoint 4.*kept: 3, 5"):
        training.load_run(tmp_path, 4)
    with pytest.raises(training.CheckpointError, match="No best checkpoint"):
        training.load_run(tmp_path, "best")


def test_what_is_no_run_is_told_so(tmp_path):
    with pytest.raises(training.CheckpointError, match="not the folder of a run"):
        training.load_run(tmp_path)
    (tmp_path / "config.json").write_text('{"class": "ModelConfig", "heads": 3}')
    with pytest.raises(training.CheckpointError, match="cannot be read as a ModelC"):
        training.load_run(tmp_path)
