"""`keras-switch train` itself: two processes, and again after one was killed."""

import json
import os
import pathlib
import signal
import sys
import time

import helpers_tpu_scripts as helpers
import pytest

VALUES = {
    "MODULES": "['helpers_cli_tasks']",
    "TASK": "toy_copy",
    "LENGTHS": "{'inputs': 8, 'targets': 8}",
    "BATCH_SIZE": 4,
    "TRAIN_STEPS": 60,
    "EVAL_EVERY": 60,
    "SAVE_EVERY": 5,
    "ModelConfig.vocab_size": 384,
    "ModelConfig.num_sentinels": 0,
    "ModelConfig.d_model": 8,
    "ModelConfig.d_kv": 4,
    "ModelConfig.num_heads": 2,
    "ModelConfig.d_ff": 16,
    "ModelConfig.num_layers": 1,
    "Sparse.num_experts": 2,
    "Sparse.placement": "@AllLayers()",
}
WORDS = [
    "--gin_file=models/switch_tiny.gin",
    "--gin_file=runs/pretrain.gin",
    "--mesh_shape=data:2",
    "--layout_rules=batch:data,experts:data",
    "--model_dir=run",
    *(f"--gin.{name}={value}" for name, value in VALUES.items()),
]
PROGRAM = """
from keras_switch.cli.__main__ import main
sys.exit(main())
"""


def start(machines):
    settings = {"backend": "local", "workers": 2, "virtual_devices": 1}
    settings |= {"program": machines.program, "stop_seconds": 20}
    machines.environment["PYTHONPATH"] = str(helpers.ROOT / "tests")
    return machines.start("train", "--", *WORDS, **settings)


def kill_after_checkpoint(machines, launcher, worker):
    """Kills the program of a worker, not what watches over it, by its process id."""
    checkpoints = machines.folder / "run" / "checkpoints"
    while not [*checkpoints.glob("ckpt-*.index")]:
        assert launcher.poll() is None, launcher.stderr.read()
        time.sleep(0.1)
    supervisor = (machines.log_dir / f"worker-{worker}.pid").read_text().split()[0]
    children = pathlib.Path(f"/proc/{supervisor}/task/{supervisor}/children")
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)


@pytest.mark.slow
def test_two_processes_train_and_go_on_after_one_was_killed(tmp_path):
    machines = helpers.Machines(tmp_path, PROGRAM)
    text = machines.program.read_text().replace(helpers.SHEBANG, f"#!{sys.executable}")
    machines.program.write_text(text)

    first = start(machines)
    kill_after_checkpoint(machines, first, worker=1)
    _, said = first.communicate(timeout=300)
    assert first.returncode == 1, said
    assert "worker 1 died with exit code 137; stopping the others" in said

    second = start(machines)
    _, said = second.communicate(timeout=600)
    assert second.returncode == 0, said
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records[-1]["step"] == 60 and records[-1]["split"] == "eval"
    assert [r["step"] for r in records] == sorted(r["step"] for r in records)
    assert "data:2 of 2 CPU devices of 2 processes" in machines.log(0)
