"""Folders that are addresses, in TensorFlow's file system in memory."""

import json

import helpers_training as h
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers_runs import command

from keras_switch import training
from keras_switch.cli.__main__ import main
from keras_switch.training.paths import RemotePath, path_of, remove_tree

ADDRESS = "ram://bucket"


def test_an_address_is_used_like_a_path(tmp_path):
    assert path_of(tmp_path) == path_of(str(tmp_path)) == tmp_path
    remote = path_of(f"{ADDRESS}/paths/")
    assert path_of(remote) is remote and str(remote) == f"{ADDRESS}/paths"
    for folder in (tmp_path / "paths", remote):
        assert not folder.exists() and [*folder.glob("*")] == []
        folder.mkdir()
        for name in ("a-1.txt", "a-2.txt", "b.txt"):
            (folder / name).write_text(f"{name}: é\n")
        with (folder / "b.txt").open("a") as file:
            file.write("more\n")
        found = sorted(folder.glob("a-*"))
        assert [p.name for p in found] == ["a-1.txt", "a-2.txt"]
        assert (found[0].parent, found[0].suffix) == (folder, ".txt")
        found[0].replace(found[1].with_suffix(".md"))
        found[1].unlink()
        assert sorted(p.name for p in folder.iterdir()) == ["a-2.md", "b.txt"]
        assert (folder / "a-2.md").read_text() == "a-1.txt: é\n"
        assert (folder / "b.txt").read_text() == "b.txt: é\nmore\n"
        assert folder.is_dir() and not (folder / "b.txt").is_dir()
        assert (folder / "b.txt").is_file() and not folder.is_file()
        remove_tree(folder)
        assert not folder.exists()


def test_what_is_wrong_with_an_address_is_told():
    with pytest.raises(FileNotFoundError, match=r"ram://nowhere/x is not there"):
        RemotePath("ram://nowhere/x").read_text()
    with pytest.raises(OSError, match=r"opens .*ram://.*, but not ftp://: install"):
        RemotePath("ftp://host/x").mkdir()
    with pytest.raises(training.CheckpointError, match=r"Cannot save in ftp://.*mount"):
        training.Checkpoints(h.dense_model(), model_dir="ftp://host/run")


def run(folder, steps):
    keras.utils.set_random_seed(0)
    model = h.dense_model()
    history = training.train(
        model,
        training.Adafactor(0.1),
        training.TokenCrossEntropy(),
        h.dataset(),
        steps=steps,
        model_dir=folder,
        eval_data=h.dataset(2, repeat=False),
        save_every=1,
        log_every=1,
        keep=2,
        config={"layers": 1},
    )
    return model, history


def test_a_run_whose_folder_is_an_address_goes_on_bit_for_bit():
    folder = f"{ADDRESS}/runs/first"
    run(folder, 2)
    resumed, history = run(folder, 4)
    straight, _ = run(f"{ADDRESS}/runs/second", 4)
    for a, b in zip(resumed.weights, straight.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert history.curve("loss")[0] == [1, 2, 3, 4]
    assert history.checkpoint == f"{folder}/checkpoints/ckpt-4"
    kept = training.Checkpoints(h.dense_model(), model_dir=folder)
    assert kept.all == [f"{folder}/checkpoints/ckpt-{step}" for step in (3, 4)]
    assert kept.restore_best() in (2, 4)
    assert tf.io.gfile.glob(f"{folder}/tensorboard/train/events*")
    with pytest.raises(training.CheckpointError, match=r"another configuration"):
        training.Checkpoints(h.dense_model(), model_dir=folder, config={}).restore()


def test_the_command_line_trains_and_evaluates_at_an_address():
    folder = f"{ADDRESS}/runs/command"
    assert main(command(folder)) == 0
    assert main(command(folder, "--gin.EVAL_STEPS=1", word="eval")) == 0
    names = {path.name for path in path_of(folder).iterdir()}
    assert {"config.gin", "operative_config.gin", "config.json"} <= names
    (line,) = (path_of(folder) / "eval.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 2
