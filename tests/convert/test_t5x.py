"""Checkpoints of T5X: its own, scanned ones, round trips."""

import pathlib
import re
import shutil

import helpers_models
import ml_dtypes
import numpy as np
import pytest
from helpers_t5x import ROUND_TRIPS

from keras_switch import convert
from keras_switch.convert import engine, t5x, t5x_files, t5x_gin
from keras_switch.convert.source import Arrays

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "flaxformer"

GOLDEN = GOLDENS / "switch_base_tiny"


@pytest.fixture
def folder(tmp_path):
    """Returns a copy of a real checkpoint with the config of its run."""
    copy = pathlib.Path(shutil.copytree(GOLDEN / "ckpt", tmp_path / "run"))
    shutil.copy(GOLDEN / "model.gin", copy / "model.gin")
    return copy


def params(name="switch_base_tiny"):
    with np.load(GOLDENS / name / "params.npz") as arrays:
        return dict(arrays)


def test_a_real_checkpoint_holds_its_parameters(folder):
    found = t5x.read(folder)
    table, _ = t5x.names(Arrays(params()))
    report = engine.load(found.model.weights, Arrays(params()), table)
    assert report.checksums == found.report.checksums
    assert "checkpoint_1000" in str(found.report)
    assert t5x.read(folder / "checkpoint_1000").report.checksums == report.checksums


def test_the_newest_checkpoint_is_taken(folder):
    shutil.copytree(folder / "checkpoint_1000", folder / "checkpoint_900")
    newer = shutil.copytree(folder / "checkpoint_1000", folder / "checkpoint_20000")
    assert t5x.folder_of(folder) == pathlib.Path(newer)
    assert t5x.folder_of(folder.parent) is None


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_round_trip_changes_no_bit(name, tmp_path):
    model = convert.model.build(ROUND_TRIPS[name])
    helpers_models.scatter(model)
    t5x.write(model, tmp_path, step=3)
    found = t5x.read(tmp_path)
    assert found.report.checksums == convert.checksums(model)
    again, config = found.model.backbone.config, model.backbone.config
    assert again.sparse_layers("encoder") == config.sparse_layers("encoder")
    assert (again.mlp, again.position, again.tie_embeddings) == (
        config.mlp,
        config.position,
        config.tie_embeddings,
    )
    if config.sparse:
        assert again.routing("decoder") == config.routing("decoder")
        assert again.sparse.groups == config.sparse.groups
        assert again.sparse.extra_mlp == config.sparse.extra_mlp


def scanned(arrays, kinds):
    """Returns parameters with every `kinds`-th layer stacked on axis 1, as scan does.

    Each layer gets the relative bias of its stack.
    """
    found, stacks = {}, {}
    for name, value in arrays.items():
        match = re.fullmatch(r"(\w+)/layers_(\d+)/(.*)", name)
        if match:
            at, kind = divmod(int(match[2]), kinds)
            inner = f"/subblock_{kind}" if kinds > 1 else ""
            key = f"{match[1]}/{match[1]}{inner}/{match[3]}"
            stacks.setdefault(key, {})[at] = value
        elif not name.endswith("rel_embedding"):
            found[name] = value
    for key, values in stacks.items():
        found[key] = np.stack([values[at] for at in range(len(values))], axis=1)
    for stack in ("encoder", "decoder"):
        bias = arrays[f"{stack}/relpos_bias/rel_embedding"]
        depth = found[
            f"{stack}/{stack}{'/subblock_0' if kinds > 1 else ''}"
            f"/pre_mlp_layer_norm/scale"
        ].shape[1]
        for kind in range(kinds):
            inner = f"/subblock_{kind}" if kinds > 1 else ""
            key = f"{stack}/{stack}{inner}/relpos_bias/rel_embedding"
            found[key] = np.repeat(bias[:, np.newaxis, :], depth, axis=1)
    return found


def dense():
    """Returns parameters of a plain dense T5, and its config."""
    config = ROUND_TRIPS["gated, untied"]
    model = convert.model.build(config)
    helpers_models.scatter(model)
    table = t5x.t5x_names.table({"encoder": 0, "decoder": 0})
    return config, dict(engine.dump(model.weights, table)), convert.checksums(model)


def on_disk(folder, tensors, config):
    """Writes any tensors as a checkpoint, beside the config of a model."""
    checkpoint = folder / "checkpoint_5"
    checkpoint.mkdir(parents=True)
    t5x_files.write(tensors.items(), checkpoint, 5)
    (folder / "config.gin").write_text(config)
    return folder


def test_a_scanned_dense_model_is_unstacked(tmp_path):
    config, arrays, sums = dense()
    text, _ = t5x_gin.to_t5x(config)
    on_disk(tmp_path, scanned(arrays, 1), text.replace("t5.", "scalable_t5."))
    assert t5x.read(tmp_path).report.checksums == sums


def test_a_scanned_sparse_model_is_unstacked(tmp_path, folder):
    sums = t5x.read(folder).report.checksums
    text = (GOLDEN / "model.gin").read_text()
    on_disk(tmp_path / "scanned", scanned(params(), 2), text)
    assert t5x.read(tmp_path / "scanned").report.checksums == sums


def test_layers_with_biases_of_their_own_are_refused(tmp_path):
    config, arrays, _ = dense()
    stacked = scanned(arrays, 1)
    stacked["decoder/decoder/relpos_bias/rel_embedding"][0, 1, 0] += 1
    on_disk(tmp_path, stacked, t5x_gin.to_t5x(config)[0])
    with pytest.raises(convert.ConversionError, match="the decoder have different rel"):
        t5x.read(tmp_path)


def test_biases_that_are_no_stack_of_layers_are_refused(tmp_path):
    config, arrays, _ = dense()
    stacked = scanned(arrays, 1)
    key = "encoder/encoder/relpos_bias/rel_embedding"
    stacked[key] = stacked[key][:, 0]
    on_disk(tmp_path, stacked, t5x_gin.to_t5x(config)[0])
    with pytest.raises(convert.ConversionError, match="they need heads, layers and"):
        t5x.read(tmp_path)


def test_masters_in_bfloat16_are_cast(tmp_path):
    config, arrays, _ = dense()
    halves = {name: value.astype(ml_dtypes.bfloat16) for name, value in arrays.items()}
    on_disk(tmp_path, halves, t5x_gin.to_t5x(config)[0])
    weights = t5x.read(tmp_path).model.weights
    wanted = halves["token_embedder/embedding"].astype("float32")
    np.testing.assert_array_equal(weights[0], wanted)
