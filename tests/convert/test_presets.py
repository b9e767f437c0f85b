"""`from_preset` on what is in Hugging Face's format."""

import shutil

import keras
import ml_dtypes
import numpy as np
import pytest

from keras_switch import convert, models
from keras_switch.convert import hf_files


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


@pytest.mark.parametrize("error", ["OSError", "LocalEntryNotFoundError"])
def test_without_a_network_it_is_told_that_there_is_none(monkeypatch, error):
    import huggingface_hub
    from huggingface_hub import errors

    def offline(repository, name, **_):
        # The hub's own error is also one of a file that is not there.
        raise getattr(errors, error, OSError)("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    message = r"config\.json of hf://a/b cannot be fetched \(no network\)"
    with pytest.raises(convert.ConversionError, match=message):
        models.SwitchSeq2SeqLM.from_preset("hf://a/b")


def test_what_was_fetched_before_is_read_without_a_network(made, monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder, model = made
    repository = tmp_path / "models--a--b"
    shutil.copytree(folder, repository / "snapshots" / "1234")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1234")
    address = "hf://a/b"
    with pytest.raises(
        convert.ConversionError, match=r"spiece\.model of hf://a/b cann"
    ):
        hf_files.Files(address).get("spiece.model")
    missing = repository / ".no_exist" / "1234"
    missing.mkdir(parents=True)
    for name in ("spiece.model", "model.safetensors.index.json"):
        (missing / name).touch()
    assert huggingface_hub.try_to_load_from_cache("a/b", "config.json")
    found = models.SwitchSeq2SeqLM.from_preset(address)
    assert convert.checksums(found) == convert.checksums(model)
