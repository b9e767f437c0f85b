"""Folders of Hugging Face: read, written, loaded by transformers, refused when bad."""

import pathlib

import helpers_checkpoints as checkpoints
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_switch import convert
from keras_switch.convert import hugging_face

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "hf"

NAMES = ["switch_tied", "switch_untied", "switch_edge", "t5_v10", "t5_v11"]


@pytest.mark.parametrize("name", NAMES)
def test_a_round_trip_changes_no_bit_and_no_setting(name, tmp_path):
    first = hugging_face.read(GOLDENS / name)
    assert hugging_face.write(first.model, tmp_path) == []
    second = hugging_face.read(tmp_path)
    assert second.model.backbone.config == first.model.backbone.config
    assert second.report.checksums == first.report.checksums
    ours = load_file(tmp_path / "model.safetensors")
    theirs = load_file(GOLDENS / name / "model.safetensors")
    for key in theirs:
        np.testing.assert_array_equal(ours[key], theirs[key])
    copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    assert set(ours) - set(theirs) <= copies


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "describes a 'bert' model"),
        ({"num_experts": 4}, r"expert_3\.wi\.weight: missing"),
        ({"num_experts": 2}, r"expert_2\.wi\.weight: left over"),
        ({"d_model": None}, "d_model: missing"),
        ({"surprise": 1}, "surprise=1: unknown"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder, changes, message):
    checkpoints.change_json(folder / "config.json", **changes)
    with pytest.raises(convert.ConversionError, match=message):
        hugging_face.read(folder)


@pytest.mark.parametrize("name", NAMES)
def test_transformers_loads_what_is_written_without_a_word(name, tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    hugging_face.write(hugging_face.read(GOLDENS / name).model, tmp_path)
    model, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values())
    batch = np.load(GOLDENS / name / "inputs.npz")
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    with torch.no_grad():
        logits = model.eval()(**{key: torch.tensor(batch[key]) for key in names}).logits
    file = "expected.npz" if name.startswith("t5") else "expected_nodrop.npz"
    wanted = np.load(GOLDENS / name / file)["logits"]
    np.testing.assert_allclose(logits.numpy(), wanted, atol=5e-4)


def test_the_bias_that_old_files_of_t5_hold_for_nothing_is_passed_over(tmp_path):
    checkpoints.hugging_face_folder(tmp_path, sparse=None)
    file = tmp_path / "model.safetensors"
    bias = "layer.1.EncDecAttention.relative_attention_bias.weight"
    old = {f"decoder.block.0.{bias}": np.ones((8, 4), "float32"), **load_file(file)}
    save_file(old, file)
    assert hugging_face.read(tmp_path).report.bytes > 0
    save_file({f"decoder.block.1.{bias}": np.ones((8, 4), "float32"), **old}, file)
    with pytest.raises(convert.ConversionError, match=r"block\.1.*bias\.weight: left"):
        hugging_face.read(tmp_path)


def test_halves_are_read_from_their_file_and_cast(made, folder):
    file = folder / "model.safetensors"
    halves = {k: v.astype(ml_dtypes.bfloat16) for k, v in load_file(file).items()}
    save_file(halves, file)
    weights = hugging_face.read(folder).model.weights
    wanted = halves["shared.weight"].astype("float32")
    np.testing.assert_array_equal(weights[0], wanted)
