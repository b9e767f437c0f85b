"""Runs of `keras-switch` on a task of a few bytes, and what they recorded."""

import json
import pathlib

import pytest

from keras_switch import models, training

VALUES = {
    "ModelConfig.vocab_size": 384,
    "ModelConfig.num_sentinels": 0,
    "ModelConfig.d_model": 8,
    "ModelConfig.d_ff": 16,
    "ModelConfig.d_kv": 4,
    "ModelConfig.num_heads": 2,
    "ModelConfig.num_layers": 1,
    "Sparse.num_experts": 2,
    "Sparse.placement": "@AllLayers()",
    "Switch.exploration": "@Argmax()",
    "RunConfig.log_every": 1,
    "MODULES": "['helpers_cli_tasks']",
    "TASK": "toy_copy",
    "LENGTHS": "{'inputs': 16, 'targets': 16}",
    "BATCH_SIZE": 4,
    "TRAIN_STEPS": 2,
}


def command(folder, *flags, word="train", **changes):
    """Returns the words of a command line."""
    files = ["models/switch_tiny.gin", "runs/pretrain.gin"] * (word == "train")
    changes = (VALUES if word == "train" else {}) | changes
    values = [f"--gin.{name}={value}" for name, value in changes.items()]
    files = [f"--gin_file={file}" for file in files]
    return [word, *files, *values, *flags, f"--model_dir={folder}"]


def saved_run(folder, **changes):
    """Makes the folder of a run of a sparse model by hand; returns it.

    Args:
        folder: where.
        **changes: of its `ModelConfig`.
    """
    config = models.ModelConfig(
        vocab_size=384,
        d_model=8,
        d_ff=16,
        d_kv=4,
        num_heads=2,
        num_layers=1,
        tie_embeddings=False,
        sparse=models.Sparse(2, placement=models.AllLayers()),
        **changes,
    )
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    training.Checkpoints(model, model_dir=folder, config=config).save(1)
    return folder


def records(folder):
    lines = (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_same_run(folder, other):
    """Compares what two runs recorded, except the speed."""
    found, wanted = records(folder), records(other)
    assert [(r["step"], r["split"]) for r in found] == [
        (r["step"], r["split"]) for r in wanted
    ]
    for one, two in zip(found, wanted, strict=True):
        for values in (one["values"], two["values"]):
            values.pop("tokens_per_second", None)
        assert one["values"] == pytest.approx(two["values"], rel=1e-5, abs=1e-5)
