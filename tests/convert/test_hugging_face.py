"""Folders of Hugging Face: read, written, loaded by transformers, refused when bad."""

import json
import os
import pathlib
import shutil

import helpers_checkpoints as checkpoints
import helpers_models
import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_switch import convert, models
from keras_switch.convert import hf_config, hugging_face, safetensors_files
from keras_switch.dispatch import BySequence
from keras_switch.routing import Argmax, FixedCapacity, InputJitter, Switch, TopK

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "hf"
NAMES = ["switch_tied", "switch_untied", "switch_edge", "t5_v10", "t5_v11"]
SENTENCES = ["the quick brown fox jumps over the lazy dog", "a dog walks in the park"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns a folder in Hugging Face's format and the model that is in it."""
    folder = tmp_path_factory.mktemp("made")
    return folder, checkpoints.hugging_face_folder(folder)


@pytest.fixture
def folder(made, tmp_path):
    """Returns a copy of that folder, to be spoilt."""
    return pathlib.Path(shutil.copytree(made[0], tmp_path / "copy"))


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


def test_a_config_is_translated_whole():
    values = json.loads((GOLDENS / "switch_untied" / "config.json").read_text())
    config = hf_config.from_hugging_face(values, sentinels=5)
    assert config == models.ModelConfig(
        vocab_size=120,
        num_sentinels=5,
        d_model=24,
        d_ff=36,
        d_kv=16,
        num_heads=3,
        num_layers=2,
        num_decoder_layers=2,
        mlp=models.PlainMlp("gelu"),
        position=models.RelativePosition(16, 40),
        dropout_rate=0.1,
        layer_norm_epsilon=1e-5,
        tie_embeddings=False,
        sparse=models.Sparse(
            8,
            placement=models.HuggingFace(2),
            decoder_placement=models.HuggingFace(2),
            routing=Switch(
                capacity=FixedCapacity(40),
                exploration=InputJitter(0.01),
                balance_loss_weight=0.02,
                z_loss_weight=0.004,
            ),
            groups=BySequence(),
            expert_dropout_rate=0.1,
            layer_losses=models.LayerMean(),
        ),
    )


@pytest.mark.parametrize(
    ("changes", "mlp"),
    [
        ({"feed_forward_proj": "gated-gelu"}, models.GatedMlp("gelu")),
        ({"feed_forward_proj": "gated-silu"}, models.GatedMlp("silu")),
        ({"feed_forward_proj": "relu"}, models.PlainMlp("relu")),
        ({"dense_act_fn": "gelu_new", "is_gated_act": True}, models.GatedMlp("gelu")),
    ],
)
def test_words_for_mlps_are_understood_as_transformers_does(changes, mlp):
    values = {"model_type": "mt5", "tie_word_embeddings": False, **changes}
    sizes = dict.fromkeys(("vocab_size", "d_model", "d_ff", "d_kv", "num_heads"), 8)
    config = hf_config.from_hugging_face({**values, **sizes, "num_layers": 2})
    assert config.mlp == mlp and config.sparse is None and not config.tie_embeddings
    written, _ = hf_config.to_hugging_face(config)
    assert hf_config.from_hugging_face(written).mlp == mlp


def test_what_release_5_says_of_an_untied_t5_is_understood():
    values, _ = hf_config.to_hugging_face(helpers_models.tiny(sparse=None))
    values |= {"tie_word_embeddings": True, "scale_decoder_outputs": False}
    assert hf_config.from_hugging_face(values).tie_embeddings is False


def test_every_bad_setting_is_told_at_once():
    values, _ = hf_config.to_hugging_face(checkpoints.small().backbone.config)
    values |= {"num_selected_experts": 2, "expert_capacitty": 3, "d_model": "wide"}
    values |= {"dense_act_fn": "mish", "is_encoder_decoder": False}
    with pytest.raises(convert.ConversionError) as error:
        hf_config.from_hugging_face(values, "config.json")
    text = str(error.value)
    for mistake in (
        "num_selected_experts=2: transformers runs top-1 alone",
        "expert_capacitty=3: unknown; nearest known is 'expert_capacity'",
        "d_model='wide': not understood",
        "dense_act_fn='mish'",
        "is_encoder_decoder=False",
    ):
        assert mistake in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "decoder-only"}, "it needs an encoder-decoder"),
        ({"position": models.RotaryPosition()}, "relative biases alone"),
        ({"num_kv_heads": 1}, "num_kv_heads=1"),
        ({"mlp": models.GatedMlp()}, "sparse models have no gated MLP"),
        ({"sparse": models.Sparse(4, 48)}, "sparse.d_ff=48"),
        ({"sparse": models.Sparse(4, routing=TopK(2))}, r"Switch\(\) alone"),
        (
            {"sparse": models.Sparse(4, placement=models.Even())},
            "sparse layers",
        ),
    ],
)
def test_what_transformers_cannot_run_is_not_written(changes, message):
    config = helpers_models.tiny(**changes)
    with pytest.raises(convert.ConversionError, match=message):
        hf_config.to_hugging_face(config)


def test_what_can_only_be_said_nearly_is_told():
    sparse = models.Sparse(4, expert_dropout_rate=0.4, routing=Switch())
    values, notes = hf_config.to_hugging_face(helpers_models.tiny(sparse=sparse))
    assert values["expert_capacity"] == 256  # 2.0 * 512 / 4
    assert len(notes) == 2 and "fixed number of places" in notes[1]
    # Weights per layer, of two layers that are added, are one weight per stack.
    assert values["router_aux_loss_coef"] == pytest.approx(1e-2)


def test_large_models_are_written_in_shards_with_an_index(made, tmp_path):
    _, model = made
    hugging_face.write(model, tmp_path, max_shard_bytes=5_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 3 and set(index["weight_map"].values()) == {
        shard.name for shard in shards
    }
    assert hugging_face.read(tmp_path).report.checksums == convert.checksums(model)


def as_torch(folder, **options):
    """Turns the weights of a folder into PyTorch's file; returns them."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    checkpoints.torch_file(folder / "pytorch_model.bin", tensors, **options)
    return tensors


def test_a_file_of_pytorch_is_read_without_pytorch(made, folder):
    as_torch(folder)
    found = hugging_face.read(folder).report
    assert found.checksums == convert.checksums(made[1])


def test_a_real_file_of_pytorch_is_read(made, folder):
    torch = pytest.importorskip("torch", reason="needs PyTorch to write its file")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state = {name: torch.tensor(value) for name, value in tensors.items()}
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    state[name] = state[name].T.contiguous().T  # strides of a transposed tensor
    torch.save(state, folder / "pytorch_model.bin")
    assert hugging_face.read(folder).report.checksums == convert.checksums(made[1])


class Attack:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def test_code_in_a_pickle_never_runs(folder, tmp_path):
    as_torch(folder, extra={"evil": Attack(tmp_path / "ran")})
    with pytest.raises(convert.ConversionError, match=r"wants to use posix\.system"):
        hugging_face.read(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra": {"epoch": 3}}, "more than tensors by name"),
        ({"storage_bytes": lambda data: data[: len(data) // 2]}, "is cut off"),
    ],
)
def test_files_of_pytorch_that_are_not_right_are_refused(folder, options, message):
    as_torch(folder, **options)
    with pytest.raises(convert.ConversionError, match=message):
        hugging_face.read(folder)


def test_a_pickle_named_safetensors_is_refused(folder):
    as_torch(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    with pytest.raises(convert.ConversionError, match="is a pickle under the name"):
        hugging_face.read(folder)


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


def test_a_folder_without_weights_says_what_it_needs(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(convert.ConversionError, match="has neither model"):
        models.SwitchSeq2SeqLM.from_preset(folder)


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


@pytest.fixture(scope="module")
def proto():
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    )
    return model.getvalue()


def test_the_tokenizer_comes_with_its_sentinels_and_goes_without(made, folder, proto):
    (folder / "spiece.model").write_bytes(proto)
    (folder / "tokenizer_config.json").write_text('{"extra_ids": 4}')
    model = models.SwitchSeq2SeqLM.from_preset(folder)
    tokenizer = model.preprocessor.tokenizer
    assert tokenizer.num_sentinels == model.backbone.config.num_sentinels == 4
    assert model.backbone.config.vocab_size == 48
    out = folder.parent / "out"
    out.mkdir()
    hugging_face.write(model, out)
    assert (out / "spiece.model").read_bytes() == proto
    assert json.loads((out / "tokenizer_config.json").read_text())["extra_ids"] == 4
    again = models.SwitchSeq2SeqLM.from_preset(out)
    assert again.preprocessor.tokenizer.proto == tokenizer.proto


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


def test_an_argmax_router_is_written_as_no_jitter():
    sparse = models.Sparse(
        4, routing=Switch(exploration=Argmax(), capacity=FixedCapacity(3))
    )
    values, notes = hf_config.to_hugging_face(helpers_models.tiny(sparse=sparse))
    assert values["router_jitter_noise"] == 0.0 and not notes
    assert isinstance(
        hf_config.from_hugging_face(values).sparse.routing.exploration, Argmax
    )


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


def test_halves_are_read_from_their_file_and_cast(made, folder):
    file = folder / "model.safetensors"
    halves = {k: v.astype(ml_dtypes.bfloat16) for k, v in load_file(file).items()}
    save_file(halves, file)
    weights = hugging_face.read(folder).model.weights
    wanted = halves["shared.weight"].astype("float32")
    np.testing.assert_array_equal(weights[0], wanted)
