"""Files of safetensors, whole and in shards."""

import json
import pickle

import numpy as np
import pytest
from helpers_checkpoints import as_torch
from safetensors.numpy import save_file

from keras_switch import convert
from keras_switch.convert import hugging_face, safetensors_files


def test_large_models_are_written_in_shards_with_an_index(made, tmp_path):
    _, model = made
    hugging_face.write(model, tmp_path, max_shard_bytes=5_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 3 and set(index["weight_map"].values()) == {
        shard.name for shard in shards
    }
    assert hugging_face.read(tmp_path).report.checksums == convert.checksums(model)


def test_a_pickle_named_safetensors_is_refused(folder):
    as_torch(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    with pytest.raises(convert.ConversionError, match="is a pickle under the name"):
        hugging_face.read(folder)


@pytest.mark.parametrize("length", [0x4B50, 0x0280, 0x0480])  # "PK", 80 02, 80 04
def test_a_header_whose_length_looks_like_a_pickle_is_none(length, tmp_path):
    header = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    data = length.to_bytes(8, "little") + header.encode() + b"\0\0\x80\x3f"
    (tmp_path / "x.safetensors").write_bytes(data)
    source = safetensors_files.SafetensorsFiles([tmp_path / "x.safetensors"], "x")
    np.testing.assert_array_equal(source.read("a"), [1.0])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_bare_pickle_named_safetensors_is_refused(folder, protocol):
    data = pickle.dumps({"shared.weight": [1.0]}, protocol)
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(convert.ConversionError, match="is a pickle under the name"):
        hugging_face.read(folder)


def test_tensors_of_other_types_are_read_as_they_are(tmp_path):
    tensors = {
        "a": np.arange(6, dtype="float16").reshape(2, 3),
        "b": np.arange(3, dtype="int64"),
    }
    save_file(tensors, tmp_path / "x.safetensors")
    source = safetensors_files.SafetensorsFiles([tmp_path / "x.safetensors"], "x")
    assert source.tensors["a"].dtype == "float16"
    np.testing.assert_array_equal(source.read("b"), tensors["b"])
    np.testing.assert_array_equal(
        source.read("a", (slice(1, 2), slice(0, 2))), [[3.0, 4.0]]
    )
