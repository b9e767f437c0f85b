"""`finetune` as a user types it, on a task of a few bytes."""

import json
import pathlib

import numpy as np
import pytest
from helpers_partitioning import on_devices
from helpers_runs import VALUES, assert_same_run, command, records, saved_run

from keras_switch import training
from keras_switch.cli.__main__ import main

TASK = {name: VALUES[name] for name in ("MODULES", "TASK", "LENGTHS", "BATCH_SIZE")} | {
    "TRAIN_STEPS": 2,
    "SAVE_EVERY": 1,
    "RunConfig.log_every": 1,
}
LORA = "--gin_file=runs/finetune_lora.gin"


def finetune(source, folder, *flags, **changes):
    flags = [f"--source={source}", *flags]
    return main(command(folder, *flags, word="finetune", **TASK | changes))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Returns the folder of a run."""
    return saved_run(tmp_path_factory.mktemp("source"))


def weights(folder):
    model, _ = training.load_run(folder)
    return {v.path: v.numpy() for v in model.weights}


LORA_ON = {"Lora.targets": "['query','experts']", "Lora.rank": 2}


def test_lora_on_a_run_trains_nothing_else(source, tmp_path, capsys):
    changes = LORA_ON | {"finetune.evaluation": None}
    assert finetune(source, tmp_path, LORA, **changes) == 0
    # Three queries 8 x 8, and two experts' two kernels 8 x 16 in both stacks.
    by_hand = 2 * (3 * (8 + 8) + 2 * 2 * 2 * (8 + 16))
    told = f"Fine-tunes {source}, step 1: trains 14 of 43 weights, {by_hand} of "
    assert told in capsys.readouterr().out
    before, after = weights(source), weights(tmp_path)
    for path, value in after.items():
        if "_lora_" in path:
            assert value.any(), path
        else:
            np.testing.assert_array_equal(value, before[path])
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["dropout_rate"] == 0.1
    assert config["sparse"]["expert_dropout_rate"] == 0.4
    assert config["lora"]["targets"] == ["query", "experts"]


@pytest.mark.slow
def test_a_run_that_was_stopped_is_the_one_that_was_not_and_is_evaluated(
    source, tmp_path, capsys
):
    run, straight = tmp_path / "run", tmp_path / "straight"
    changes = LORA_ON | {"finetune.evaluation": None}
    assert finetune(source, straight, LORA, **changes) == 0
    for steps in (1, 2):
        assert finetune(source, run, LORA, TRAIN_STEPS=steps, **changes) == 0
    found = weights(run)
    for path, value in weights(straight).items():
        np.testing.assert_array_equal(value, found[path])
    # The folder says what the model is: `eval` needs no more.
    assert main(command(run, "--gin.EVAL_STEPS=1", word="eval")) == 0
    assert "perplexity" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source_name", "changes", "says"),
    [
        ("nowhere", {}, "There is nothing at 'nowhere': give the folder of a run"),
        ("switch_base_8", {}, "built-in config without weights: give the folder"),
        (
            None,
            {"TRAINABLE": "@Frozen()", "Frozen.parts": "['expert']"},
            "'expert' matches no weight; nearest: 'experts'",
        ),
        (None, {"CHECKPOINT": 7}, "no checkpoint 7"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_no_checkpoint(
    source, tmp_path, capsys, source_name, changes, says
):
    folder = tmp_path / "run"
    assert finetune(source_name or source, folder, **changes) == 2
    assert says in capsys.readouterr().err
    assert not [*folder.glob("checkpoints/*.index")]


@on_devices
def check_on_a_mesh(source, folder):
    alone, spread = f"{folder}/alone", f"{folder}/spread"
    changes = LORA_ON | {"DROPOUT_RATE": 0.0, "EXPERT_DROPOUT_RATE": 0.0}
    assert finetune(source, alone, LORA, **changes) == 0
    layout = "--layout_rules=batch:data,experts:data,d_ff:model,heads:model"
    flags = [LORA, "--mesh_shape=data:2,model:2", layout]
    assert finetune(source, spread, *flags, **changes) == 0
    assert_same_run(spread, alone)
    assert len(records(spread)) >= 3
    assert pathlib.Path(spread, "checkpoints", "ckpt-2.index").exists()


@pytest.mark.slow
def test_on_a_mesh_it_is_the_run_of_one_device(source, tmp_path):
    check_on_a_mesh(source=str(source), folder=str(tmp_path))
