"""`from_preset` on what is in Hugging Face's format."""

import keras
import ml_dtypes
import numpy as np
import pytest

from keras_switch import convert, models


def test_from_preset_reads_a_folder_in_the_dtype_asked_for(made):
    folder, model = made
    task = models.SwitchSeq2SeqLM.from_preset(folder)
    assert convert.checksums(task) == convert.checksums(model)
    backbone = models.SwitchBackbone.from_preset(folder, dtype="bfloat16")
    table = backbone.token_embedding.embedding
    assert keras.backend.standardize_dtype(table.dtype) == "bfloat16"
    wanted = np.array(model.weights[0]).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(np.array(table), wanted)
    fresh = models.SwitchSeq2SeqLM.from_preset(folder, load_weights=False)
    assert convert.checksums(fresh) != convert.checksums(model)
    with pytest.raises(ValueError, match="architecture 'decoder-only'"):
        models.SwitchCausalLM.from_preset(folder)
    with pytest.raises(ValueError, match=r"got \['name'\]"):
        models.SwitchBackbone.from_preset(folder, name="mine")


def test_from_preset_fetches_from_the_hub(made, monkeypatch):
    import huggingface_hub
    from huggingface_hub import errors

    folder, model = made
    asked = []

    def download(repository, name, revision=None):
        asked.append((repository, name, revision))
        if not (folder / name).is_file():
            raise errors.EntryNotFoundError(f"{name} is not there")
        return str(folder / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    address = "hf://google/switch-base-8@main"
    found = models.SwitchSeq2SeqLM.from_preset(address)
    assert convert.checksums(found) == convert.checksums(model)
    assert ("google/switch-base-8", "model.safetensors", "main") in asked

    def offline(repository, name, revision=None):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(convert.ConversionError, match="cannot be fetched"):
        models.SwitchSeq2SeqLM.from_preset(address)
