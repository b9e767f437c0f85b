"""Models that `infer` and `export` start from."""

import pytest
from helpers_runs import saved_run

from keras_switch import models
from keras_switch.cli.trained import trained
from keras_switch.training import CheckpointError


def test_the_model_of_a_run_comes_with_its_lora_merged(tmp_path):
    lora = models.Lora(rank=2, targets=("query",))
    folder = saved_run(tmp_path / "run", lora=lora)
    for where in ({"model_dir": str(folder)}, {"source": str(folder)}):
        model = trained(**where)
        assert model.backbone.config.lora is None
        assert not [v.path for v in model.weights if "_lora_" in v.name]


def test_a_folder_that_is_no_run_is_refused_as_one(tmp_path):
    with pytest.raises(CheckpointError, match="is not the folder of a run"):
        trained(model_dir=str(tmp_path))


@pytest.mark.parametrize("both", [{}, {"source": "a", "model_dir": "b"}])
def test_one_place_is_given(both):
    with pytest.raises(ValueError, match="give one of them"):
        trained(**both)
