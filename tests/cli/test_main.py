"""The commands as a user types them, on a task of a few bytes."""

import json

import pytest

from keras_switch.cli.__main__ import main

SIZES = {
    "ModelConfig.vocab_size": 384,
    "ModelConfig.num_sentinels": 0,
    "ModelConfig.d_model": 8,
    "ModelConfig.d_ff": 16,
    "ModelConfig.d_kv": 4,
    "ModelConfig.num_heads": 2,
    "ModelConfig.num_layers": 1,
    "Sparse.num_experts": 2,
    "Sparse.placement": "@AllLayers()",
    "RunConfig.log_every": 1,
}
TOY = {
    "MODULES": "['helpers_cli_tasks']",
    "TASK": "toy_copy",
    "LENGTHS": "{'inputs': 16, 'targets': 16}",
    "BATCH_SIZE": 4,
    "TRAIN_STEPS": 3,
    "EVAL_EVERY": 2,
    "SAVE_EVERY": 2,
}


def values(**changes):
    return [f"--gin.{name}={value}" for name, value in changes.items()]


def train(folder, **changes):
    files = ["models/switch_tiny.gin", "runs/pretrain.gin"]
    arguments = ["train", *(f"--gin_file={file}" for file in files)]
    arguments += values(**SIZES | TOY | changes)
    return main([*arguments, f"--model_dir={folder}"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns the folder of a finished run of three steps."""
    folder = tmp_path_factory.mktemp("run")
    assert train(folder) == 0
    return folder


def records(folder, split):
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


def test_a_run_trains_evaluates_and_logs(run):
    assert [r["step"] for r in records(run, "train")] == [1, 2, 3]
    assert [r["step"] for r in records(run, "eval")] == [2, 3]
    assert records(run, "eval")[-1]["experts"]


def test_the_configuration_of_a_run_is_saved_twice(run, capsys):
    assert "Sparse.num_experts = 2" in (run / "config.gin").read_text()
    # What was left at its default is in the operative one, by the scope of its use.
    assert (
        "Switch.balance_loss_weight = 0.01"
        in (run / "operative_config.gin").read_text()
    )
    for name in ("config.gin", "operative_config.gin"):
        assert main(["train", f"--gin_file={run / name}", "--dry_run"]) == 0
        assert "Sparse.num_experts = 2" in capsys.readouterr().out


def test_the_same_command_goes_on_where_the_run_stopped(run):
    assert train(run, TRAIN_STEPS=4) == 0
    assert [r["step"] for r in records(run, "train")] == [1, 2, 3, 4]


def test_a_folder_of_another_model_is_refused_and_kept_as_it_was(run, capsys):
    before = (run / "config.gin").read_text()
    assert train(run, **{"Sparse.num_experts": 4}) == 2
    message = capsys.readouterr().err
    assert "sparse.num_experts: 2 in the checkpoint, 4 in this run" in message
    assert "another model_dir" in message
    assert (run / "config.gin").read_text() == before


def test_eval_needs_no_more_than_the_folder_of_a_run(run, capsys):
    assert main(["eval", f"--model_dir={run}"]) == 0
    assert "perplexity" in capsys.readouterr().out
    line = json.loads((run / "eval.jsonl").read_text().splitlines()[-1])
    last = records(run, "eval")[-1]
    assert line["step"] == last["step"]
    assert line["values"]["loss"] == pytest.approx(last["values"]["loss"], rel=1e-5)


def test_eval_takes_a_named_checkpoint_and_another_split(run, capsys):
    assert (
        main(["eval", f"--model_dir={run}", *values(CHECKPOINT=2, SPLIT="train")]) == 0
    )
    line = json.loads((run / "eval.jsonl").read_text().splitlines()[-1])
    assert (line["step"], line["split"]) == (2, "train")
    assert main(["eval", f"--model_dir={run}", *values(CHECKPOINT=1)]) == 2
    assert "no checkpoint 1" in capsys.readouterr().err


def test_eval_takes_the_best_checkpoint_of_a_run(run):
    assert main(["eval", f"--model_dir={run}", *values(CHECKPOINT="best")]) == 0
    line = json.loads((run / "eval.jsonl").read_text().splitlines()[-1])
    losses = [r["values"]["loss"] for r in records(run, "eval")]
    assert line["values"]["loss"] == pytest.approx(min(losses), rel=1e-5)


def test_eval_of_a_folder_without_a_run_is_refused(tmp_path, capsys, run):
    code = main(
        [
            "eval",
            f"--gin_file={run}/config.gin",
            "--gin_file=runs/eval.gin",
            f"--model_dir={tmp_path}",
        ]
    )
    assert code == 2
    assert "no checkpoint in" in capsys.readouterr().err
    assert main(["eval", f"--model_dir={tmp_path}"]) == 2
    message = capsys.readouterr().err
    assert "There is no run in" in message and "MODEL must be set" not in message
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"TRAIN_STESP": 3}, "Did you mean 'TRAIN_STEPS'?"),
        ({"TRAIN_STEPS": "many"}, "must be int, not 'many'"),
        ({"TRAIN_STEPS": 0}, "steps=0 must be above 0"),
        ({"TASK": "toy_cpoy"}, "toy_copy"),
        ({"LENGTHS": "{'inputs': 16}"}, "targets"),
        ({"ModelConfig.architecture": "encoder-decodr"}, "encoder-decoder"),
        ({"DTYPE": "float23"}, "no dtype policy 'float23'"),
        ({"MODULES": 3}, "MODULES must be a list of names of modules, not 3"),
        ({"MODULES": "['no_such_module']"}, "cannot import 'no_such_module'"),
    ],
)
def test_a_mistake_ends_in_one_message_without_a_traceback(
    tmp_path, capsys, change, says
):
    assert train(tmp_path / "run", **change) == 2
    message = capsys.readouterr().err
    assert says in message
    assert "Traceback" not in message


def test_a_mistake_in_a_part_is_placed_where_the_part_is_set(tmp_path, capsys):
    assert train(tmp_path / "run", **{"ModelConfig.d_model": -8}) == 2
    message = capsys.readouterr().err
    assert "command line: This ModelConfig cannot be built" in message
    assert "--gin.ModelConfig.d_model=-8" in message


def test_a_file_in_place_of_the_folder_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train(tmp_path / "file") == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_a_run_that_diverges_ends_with_advice_and_code_1(tmp_path, capsys):
    # Such a step is beyond float32, so the second loss is no number.
    change = {"Adafactor.learning_rate": 1e38, "Adafactor.clipping_threshold": None}
    change["ModelConfig.sparse"] = None
    assert train(tmp_path / "run", **change) == 1
    message = capsys.readouterr().err
    assert "lower learning rate" in message
    assert "Traceback" not in message


def test_a_stop_by_the_user_ends_with_code_130(monkeypatch, capsys):
    def stopped(flags):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_switch.cli.command.run", stopped)
    assert main(["demo"]) == 130
    assert "Stopped before the first step" in capsys.readouterr().err


def test_debug_shows_where_an_error_came_from(tmp_path):
    with pytest.raises(ValueError, match="steps=0"):
        main(
            [
                "train",
                "--gin_file=models/switch_tiny.gin",
                "--debug",
                "--gin_file=runs/pretrain.gin",
                *values(**TOY | {"TRAIN_STEPS": 0}),
                f"--model_dir={tmp_path / 'run'}",
            ]
        )


@pytest.mark.parametrize("arguments", [["trian"], ["train", "--gin.TASK"], []])
def test_a_wrong_command_line_ends_with_code_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
