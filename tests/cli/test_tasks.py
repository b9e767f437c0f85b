"""Tasks from the command line: files without Python, metrics, peaks, caches."""

import json
import re
import shutil

import pytest
from helpers_processes import Launched

from keras_switch.cli.__main__ import main

SIZES = {
    **{"ModelConfig.d_model": 8, "ModelConfig.d_ff": 16, "ModelConfig.d_kv": 4},
    **{"ModelConfig.num_heads": 2, "ModelConfig.num_layers": 1},
    **{"Sparse.num_experts": 2, "Sparse.placement": "@AllLayers()"},
    "RunConfig.log_every": 1,
    "LENGTHS": "{'inputs': 32, 'targets': 8}",
    **{"BATCH_SIZE": 4, "TRAIN_STEPS": 2, "EVAL_EVERY": 1, "SAVE_EVERY": 1},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    head = "review\tstars\n"
    (folder / "train.tsv").write_text(head + "a fine film\tgood\na bore\tbad\n" * 4)
    (folder / "dev.tsv").write_text(head + "fine\tgood\nboring\tbad\nfun\tgood\n")
    return folder


def values(**changes):
    return [f"--gin.{name}={value}" for name, value in changes.items()]


def task_of(files, **changes):
    return [
        "--gin_file=tasks/file.gin",
        *values(
            **{
                "TRAIN_FILE": files / "train.tsv",
                "VALIDATION_FILE": files / "dev.tsv",
                "INPUTS": "'review: {review}'",
                "TARGETS": "'{stars}'",
                "LABELS": "('good', 'bad')",
            }
            | changes
        ),
    ]


def training(folder, *arguments, **changes):
    """Returns the words of a command line."""
    files = ["models/switch_tiny.gin", "runs/pretrain.gin"]
    words = ["train", *(f"--gin_file={file}" for file in files), *arguments]
    return [*words, *values(**SIZES | changes), f"--model_dir={folder}"]


def train(folder, *arguments, **changes):
    return main(training(folder, *arguments, **changes))


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """Returns the folder of a run that measured its task at every evaluation."""
    folder = tmp_path_factory.mktemp("run")
    assert train(folder, *task_of(files), METRICS="@TaskMetrics()") == 0
    return folder


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_a_file_is_a_task_with_metrics_and_a_peak(run):
    found = lines(run / "tasks.jsonl")
    assert [(x["task"], x["step"]) for x in found] == [("file", 1), ("file", 2)]
    assert all(0 <= x["values"]["accuracy"] <= 100 for x in found)
    peak = json.loads((run / "peaks.json").read_text())["file"]
    best = max(found, key=lambda x: (x["score"], -x["step"]))
    assert (peak["step"], peak["score"]) == (best["step"], best["score"])


@pytest.mark.slow
def test_eval_tells_the_metrics_of_a_checkpoint_and_of_a_peak(run, capsys):
    during = lines(run / "tasks.jsonl")
    assert main(["eval", f"--model_dir={run}", *values(CHECKPOINT="all")]) == 0
    shown = capsys.readouterr().out
    assert "accuracy " in shown
    assert "busiest experts" in shown
    (answers,) = (run / "answers" / "validation").glob("file-*2*")
    assert len(lines(answers)) == 3
    # Both checkpoints again, with the results of the run, and the peak of both.
    after = lines(run / "tasks.jsonl")[len(during) :]
    assert [x["step"] for x in after] == [x["step"] for x in during] == [1, 2]
    for one, other in zip(after, during, strict=True):
        assert one["values"] == pytest.approx(other["values"], rel=1e-5)
    peak = json.loads((run / "peaks.json").read_text())["file"]
    assert re.search(rf"best step .*\nfile +{peak['step']} +accuracy", shown, re.S)
    code = main(["eval", f"--model_dir={run}", *values(CHECKPOINT="peak/file")])
    assert code == 0
    *_, last = lines(run / "tasks.jsonl")
    assert (last["step"], last["score"]) == (peak["step"], pytest.approx(peak["score"]))
    assert main(["eval", f"--model_dir={run}", *values(CHECKPOINT="peak/fiel")]) == 2
    assert "There are peaks of: file" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_find_the_metrics_of_one(files, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    mesh = ["--mesh_shape=data:4", "--layout_rules=batch:data"]
    changes = {"TRAIN_STEPS": 3, "METRICS": "@TaskMetrics()"}
    words = training(folder, *task_of(files), *mesh, **changes)
    two = Launched(tmp_path, 2, ["-m", "keras_switch", *words])
    assert two.codes() == [0, 0], two.text(0)[-3000:]
    *before, found = lines(folder / "tasks.jsonl")
    assert before == lines(run / "tasks.jsonl")
    assert ["step 3\n" in two.text(i) for i in range(2)] == [True, False]
    assert main(["eval", f"--model_dir={folder}"]) == 0
    *_, wanted = lines(folder / "tasks.jsonl")
    assert wanted["step"] == found["step"] == 3
    assert found["values"] == pytest.approx(wanted["values"], rel=1e-5)
    for layer, use in wanted["experts"].items():
        assert found["experts"][layer]["load"] == pytest.approx(use["load"])
    best = json.loads((folder / "peaks.json").read_text())["file"]
    course = [*before, found]
    peak = max(course, key=lambda x: (x["score"], -x["step"]))
    assert best["step"] == peak["step"]


@pytest.mark.slow
def test_a_task_is_cached_and_the_cache_is_read(files, tmp_path, capsys):
    cached = values(CACHE=tmp_path / "cache")
    assert main(["cache", *task_of(files), *cached]) == 0
    shown = capsys.readouterr().out
    assert "file train" in shown
    assert "8" in shown
    assert (tmp_path / "cache" / "file" / "COMPLETED").exists()
    assert train(tmp_path / "run", *task_of(files), *cached, TRAIN_STEPS=1) == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"TRAIN_FILE": "nowhere.tsv"}, "There is no file nowhere.tsv"),
        ({"TARGETS": "'{star}'"}, "train.tsv:2: there is no column 'star'"),
        ({"LABELS": "('good', 'awful')"}, "train.tsv:3: the target 'bad' is none of"),
        (
            {"FILE_METRICS": "('acuracy',)"},
            "no metric 'acuracy'. Did you mean 'accuracy'",
        ),
        (
            {"LENGTHS": "{'inputs': 32, 'targets': 1}"},
            "tokens of 'targets', but there is",
        ),
        ({"MODULES": "['helpers_cli_task']"}, "Did you mean 'helpers_cli_tasks'"),
        (
            {"TASK": "@TaskMixture()", "TaskMixture.tasks": "{'toy_copy': 0}"},
            "not all 0",
        ),
    ],
)
def test_a_mistake_in_a_task_is_one_message_before_the_first_step(
    files, tmp_path, capsys, changes, says
):
    modules = {"MODULES": "['helpers_cli_tasks']"} | changes
    assert train(tmp_path / "run", *task_of(files), **modules) == 2
    message = capsys.readouterr().err
    assert says in message
    assert "Traceback" not in message
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
def test_fine_tuning_keeps_the_peak_of_its_task(files, run, tmp_path):
    words = ["finetune", f"--source={run}", *task_of(files), f"--model_dir={tmp_path}"]
    changes = {"TRAIN_STEPS": 1, "BATCH_SIZE": 4, "METRICS": "@TaskMetrics()"}
    lengths = SIZES["LENGTHS"]
    assert main([*words, *values(**changes, LENGTHS=lengths)]) == 0
    assert json.loads((tmp_path / "peaks.json").read_text())["file"]["step"] == 1
