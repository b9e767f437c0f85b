"""T5X's files: laid out as T5X does, refused when bad."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorstore
from helpers_t5x import ROUND_TRIPS

from keras_switch import convert
from keras_switch.convert import t5x, t5x_files

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "flaxformer"

GOLDEN = GOLDENS / "switch_base_tiny"


@pytest.fixture
def folder(tmp_path):
    """Returns a copy of a real checkpoint with the config of its run."""
    copy = pathlib.Path(shutil.copytree(GOLDEN / "ckpt", tmp_path / "run"))
    shutil.copy(GOLDEN / "model.gin", copy / "model.gin")
    return copy


def test_what_is_written_is_laid_out_as_t5x_does(tmp_path):
    config = ROUND_TRIPS["switch"]
    model = convert.model.build(config)
    t5x.write(model, tmp_path)
    folder = tmp_path / "checkpoint_0"
    real = json.loads(
        (
            GOLDEN / "ckpt/checkpoint_1000/target.encoder.layers_1.mlp.expert"
            ".wi.kernel/.zarray"
        ).read_text()
    )
    ours = json.loads(
        (folder / "target.encoder.layers_1.mlp.expert.wi.kernel/.zarray").read_text()
    )
    same = ("compressor", "dtype", "order", "zarr_format", "dimension_separator")
    assert {key: ours[key] for key in same} == {key: real[key] for key in same}
    tree = t5x_files._tree(folder / "checkpoint")
    assert tree["version"] == 3 and tree["optimizer"]["state"]["step"] == 0
    leaf = tree["optimizer"]["target"]["token_embedder"]["embedding"]
    assert leaf["kvstore"] == {
        "driver": "file",
        "path": "target.token_embedder.embedding/",
    }


def tree_of(folder):
    return folder / "checkpoint_1000" / "checkpoint"


def change_tree(folder, change):
    import msgpack

    raw = msgpack.unpackb(tree_of(folder).read_bytes(), strict_map_key=False)
    change(raw)
    tree_of(folder).write_bytes(msgpack.packb(raw))


def embedding(tree):
    return tree["optimizer"]["target"]["token_embedder"]["embedding"]


SPOILT = {
    "a chunk is gone": (
        lambda f: (f / "checkpoint_1000/target.token_embedder.embedding/0.0").unlink(),
        "is missing, a part of token_embedder/embedding",
    ),
    "an array is gone": (
        lambda f: shutil.rmtree(f / "checkpoint_1000/target.token_embedder.embedding"),
        "no zarr array of version 2",
    ),
    "a chunk is cut off": (
        lambda f: (
            f / "checkpoint_1000/target.token_embedder.embedding/0.0"
        ).write_bytes(b"\x1f\x8b\x08"),
        "token_embedder/embedding of .* cannot be read",
    ),
    "the tree is cut off": (
        lambda f: tree_of(f).write_bytes(tree_of(f).read_bytes()[:500]),
        "is no tree of a T5X checkpoint",
    ),
    "version 2": (
        lambda f: change_tree(f, lambda tree: tree.update(version=2)),
        "of version 2: version 3 is read",
    ),
    "a path outside": (
        lambda f: change_tree(
            f, lambda tree: embedding(tree)["kvstore"].update(path="../../x/")
        ),
        r"refers to '\.\./\.\./x/', which is no folder beside",
    ),
    "the folder above": (
        lambda f: change_tree(
            f, lambda tree: embedding(tree)["kvstore"].update(path="..")
        ),
        r"refers to '\.\.', which is no folder beside",
    ),
    "a weight too many": (
        lambda f: change_tree(
            f,
            lambda tree: tree["optimizer"]["target"].update(
                more={"kernel": embedding(tree)}
            ),
        ),
        "more/kernel: left over",
    ),
    "a weight too few": (
        lambda f: change_tree(
            f, lambda tree: tree["optimizer"]["target"].pop("token_embedder")
        ),
        "token_embedder/embedding: missing",
    ),
    "no config": (lambda f: (f / "model.gin").unlink(), "has none of config.gin"),
    "another number of experts": (
        lambda f: (f / "model.gin").write_text(
            (f / "model.gin").read_text().replace("EXPERTS = 4", "EXPERTS = 8")
        ),
        "mlp/expert/wi/kernel: of shape",
    ),
    "another layout": (
        lambda f: (f / "model.gin").write_text(
            (f / "model.gin").read_text() + "ENCODER_SPARSE_LAYOUT = 'SOME'\n"
        ),
        "ENCODER_SPARSE_LAYOUT='SOME': known are MIXED",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_bad_checkpoint_is_refused(folder, name):
    spoil, message = SPOILT[name]
    spoil(folder)
    with pytest.raises(convert.ConversionError, match=message):
        t5x.read(folder)


def test_a_bias_of_zeros_that_was_left_out_is_zeros(tmp_path):
    zeros = np.zeros(4, "float32")
    tensors = [("w/bias", zeros), ("w/kernel", zeros)]
    t5x_files.write(tensors, tmp_path, 0)
    (tmp_path / "target.w.bias" / "0").unlink()
    source = t5x_files.T5XCheckpoint(tmp_path)
    np.testing.assert_array_equal(source.read("w/bias"), zeros)
    (tmp_path / "target.w.kernel" / "0").unlink()
    with pytest.raises(convert.ConversionError, match="a part of w/kernel"):
        t5x_files.T5XCheckpoint(tmp_path)


def test_large_arrays_are_written_in_chunks_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(t5x_files, "_CHUNK", 100)
    value = np.arange(7 * 8, dtype="float32").reshape(7, 8)
    t5x_files.write([("a/w", value)], tmp_path, 0)
    meta = json.loads((tmp_path / "target.a.w" / ".zarray").read_text())
    assert meta["chunks"] == [3, 8]  # 96 bytes
    np.testing.assert_array_equal(t5x_files.T5XCheckpoint(tmp_path).read("a/w"), value)


def test_arrays_that_cannot_be_streamed_are_read_by_tensorstore(tmp_path):
    value = np.arange(6, dtype="float32").reshape(2, 3)
    t5x_files.write([("a/w", value)], tmp_path, 0)
    folder = tmp_path / "target.a.w"
    shutil.rmtree(folder)
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    spec["metadata"] = {"shape": [2, 3], "chunks": [2, 3], "compressor": None}
    opened = tensorstore.open(spec, create=True, dtype="float32").result()
    opened.write(value).result()
    source = t5x_files.T5XCheckpoint(tmp_path)
    np.testing.assert_array_equal(source.read("a/w"), value)
    where = (slice(1, 2), slice(0, 2))
    np.testing.assert_array_equal(source.read("a/w", where), value[where])
