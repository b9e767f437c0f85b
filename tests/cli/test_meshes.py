"""`train` and `eval` on a mesh, as a user types them."""

import json
import os
import pathlib

import pytest
from helpers_partitioning import on_devices
from helpers_runs import assert_same_run, command, records

from keras_switch.cli import command as commands
from keras_switch.cli import devices
from keras_switch.cli.__main__ import main
from keras_switch.cli.flags import parse


@on_devices
def check_train_and_eval(folder):
    alone, spread = f"{folder}/alone", f"{folder}/spread"
    assert main(command(alone)) == 0
    layout = "--layout_rules=batch:data,experts:data,d_ff:model,vocab:model"
    assert main(command(spread, "--mesh_shape=data:2,model:2", layout)) == 0
    assert_same_run(spread, alone)
    # A finished run, evaluated on one device, and on another mesh by a layout file.
    losses = []
    mesh = ["--gin_file=runs/eval.gin", "--gin_file=layouts/one_device.gin"]
    for flags in ([], ["--mesh_shape=data:2"], mesh):
        assert main(command(spread, *flags, word="eval")) == 0
        lines = pathlib.Path(spread, "eval.jsonl").read_text().splitlines()
        losses.append(json.loads(lines[-1])["values"]["loss"])
    wanted = records(spread)[-1]["values"]["loss"]
    assert losses == pytest.approx([wanted] * 3, abs=1e-5)


@pytest.mark.slow
def test_a_run_on_a_mesh_is_the_run_of_one_device_and_is_evaluated_anywhere(tmp_path):
    check_train_and_eval(folder=str(tmp_path))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--mesh_shape=data=4"], "'data=4' cannot be read"),
        (["--mesh_shape=data:3"], "4 rows cannot be split over data:3"),
        (["--mesh_shape=data:2", "--layout_rules=d_ff:modle"], "no axis 'modle'"),
        (["--mesh_shape=model:3", "--layout_rules=d_ff:model"], "d_ff=16 cannot be"),
        (["--layout_rules=batch:data"], "but no mesh: say its shape"),
        (["--mesh_shape=data:16"], "needs 16 CPU devices"),
    ],
)
def test_a_bad_layout_is_one_message_before_the_first_step(tmp_path, flags, says):
    check_refused(folder=str(tmp_path / "run"), flags=flags, says=says)


@on_devices
def check_refused(folder, flags, says):
    import contextlib
    import io

    changes = {"BATCH_SIZE": 16} if "data:16" in flags[0] else {}
    with contextlib.redirect_stderr(io.StringIO()) as told:
        assert main(command(folder, *flags, **changes)) == 2
    assert says in told.getvalue()
    assert "Traceback" not in told.getvalue()
    assert not pathlib.Path(folder, "metrics.jsonl").exists()


TEACHING = ["--teacher=there", "--gin.TASK=pydocs_span_corruption"]


def test_there_are_devices_for_the_mesh_of_student_and_of_teacher(monkeypatch):
    made = []
    start = "keras_switch.partitioning.devices.start"
    monkeypatch.setattr(start, lambda shape: made.append(str(shape)))
    meshes = ["--mesh_shape=data:2", "--gin.TEACHER_MESH_SHAPE='data:4'"]
    words = ["distill", "--gin_file=models/t5_tiny.gin", *TEACHING, *meshes]
    config = commands.read(parse([*words, "--model_dir=here"]))
    devices.start(config, "distill")
    assert made == ["data:4", "data:2"]


def test_several_processes_cannot_cache_logits(monkeypatch, capsys):
    monkeypatch.setenv("DTENSOR_JOBS", "a:1,b:1")
    monkeypatch.setenv("DTENSOR_CLIENT_ID", "0")
    assert main(["cache-logits", *TEACHING, "--gin.CACHE=here"]) == 2
    assert "one alone does `cache-logits`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "flags", "says"),
    [
        ({"DTENSOR_JOBS": "a:1,b:1", "DTENSOR_CLIENT_ID": "0"}, [], "2 processes, but"),
        ({"DTENSOR_JOBS": "a:1,b:1"}, ["--mesh_shape=data:2"], "CLIENT_ID is missing"),
        (
            {"DTENSOR_JOBS": "a:1,b:1", "DTENSOR_CLIENT_ID": "0"},
            ["--mesh_shape=data:3"],
            "multiple of 2",
        ),
    ],
)
def test_processes_that_cannot_share_a_mesh_are_refused(
    tmp_path, monkeypatch, capsys, variables, flags, says
):
    for name in [name for name in os.environ if name.startswith("DTENSOR_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(command(tmp_path / "run", *flags)) == 2
    assert says in capsys.readouterr().err
