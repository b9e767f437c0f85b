"""Files of a folder in Hugging Face's format: which are needed, which are refused."""

import json

import pytest
from helpers_checkpoints import as_torch

from keras_switch import convert, models
from keras_switch.convert import hugging_face


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_told(folder, kind, share):
    if kind == "pytorch_model.bin":
        as_torch(folder)
    data = (folder / kind).read_bytes()
    (folder / kind).write_bytes(data[: int(share * len(data))])
    with pytest.raises(convert.ConversionError, match=r"no intact .* get it anew"):
        hugging_face.read(folder)


def test_a_missing_shard_is_named(made, tmp_path):
    hugging_face.write(made[1], tmp_path, max_shard_bytes=5_000)
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(convert.ConversionError, match=f"has no {shard.name}.*missing"):
        hugging_face.read(tmp_path)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a\\b", ".."])
def test_an_index_that_points_outside_its_folder_is_refused(folder, name):
    (folder / "model.safetensors").rename(folder.parent / "secret.safetensors")
    index = {"weight_map": {"shared.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(convert.ConversionError, match="not in its own"):
        hugging_face.read(folder)


def test_an_index_that_lists_what_is_not_there_is_refused(folder):
    index = {"weight_map": {"not.there": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(convert.ConversionError, match=r"do not hold: not\.there"):
        hugging_face.read(folder)


def test_a_folder_without_weights_says_what_it_needs(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(convert.ConversionError, match="has neither model"):
        models.SwitchSeq2SeqLM.from_preset(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": {"shared.weight": 3}}'])
def test_what_is_no_index_is_refused(folder, text):
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(convert.ConversionError, match="is no index of tensors"):
        hugging_face.read(folder)


def test_a_config_that_is_no_json_is_told_as_such(folder):
    (folder / "config.json").write_text("{oops")
    with pytest.raises(convert.ConversionError, match=r"config\.json is no JSON"):
        convert.read(folder)
