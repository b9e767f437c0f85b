"""Any format in, any format out; targets that are whole or not there."""

import io
import json
import pathlib
import shutil

import helpers_checkpoints as checkpoints
import helpers_convert
import helpers_models
import pytest

from keras_switch import convert, models
from keras_switch.convert import hugging_face, targets

GOLDENS = helpers_convert.GOLDENS


@pytest.fixture
def sources(tmp_path):
    """Returns a checkpoint of every format."""
    meta = json.loads((GOLDENS / "mtf" / "meta.json").read_text())["models"]
    mtf = pathlib.Path(
        shutil.copytree(GOLDENS / "mtf/switch_t5v10/ckpt", tmp_path / "m")
    )
    gin = helpers_convert.operative_config(meta["switch_t5v10"]["config"])
    (mtf / "operative_config.gin").write_text(gin)
    t5x = GOLDENS / "flaxformer/switch_base_tiny"
    shutil.copytree(t5x / "ckpt", tmp_path / "t")
    shutil.copy(t5x / "model.gin", tmp_path / "t" / "model.gin")
    checkpoints.small().save_to_preset(str(tmp_path / "p"))
    return {
        "mesh_tensorflow": mtf,
        "t5x": tmp_path / "t",
        "preset": tmp_path / "p",
        "hugging_face": GOLDENS / "hf" / "switch_tied",
    }


@pytest.mark.parametrize("kind", ["mesh_tensorflow", "t5x", "preset", "hugging_face"])
def test_the_format_of_a_source_is_seen_and_a_preset_of_it_is_bit_exact(
    sources, kind, tmp_path
):
    found = convert.read(str(sources[kind]))
    convert.write(found.model, tmp_path / "out")
    again = models.SwitchSeq2SeqLM.from_preset(tmp_path / "out")
    assert convert.checksums(again) == convert.checksums(found.model)
    assert again.backbone.config == found.model.backbone.config


def test_runs_without_a_tokenizer_can_be_given_one(sources, tmp_path):
    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox jumps over a lazy dog"] * 5),
        model_writer=made,
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    )
    file = tmp_path / "sentencepiece.model"
    file.write_bytes(made.getvalue())
    vocabulary = convert.Vocabulary(str(file), 10)
    model = convert.read(str(sources["t5x"]), vocabulary=vocabulary).model
    assert model.backbone.config.num_sentinels == 10
    own, compiled = model.preprocessor, model.jit_compile
    text = convert.demonstration(model, max_length=6)
    assert model.preprocessor is own and model.jit_compile == compiled
    assert "<extra_id_0>" in text and "They do not chat" in text
    assert text.count("output") == 2
    with pytest.raises(convert.ConversionError, match="vocabulary there is not there"):
        convert.read(str(sources["t5x"]), vocabulary=convert.Vocabulary("there"))


def test_a_model_without_a_vocabulary_says_how_it_is_prompted():
    assert "came without a vocabulary" in convert.demonstration(checkpoints.small())


def test_a_preset_that_is_cut_off_is_told(tmp_path):
    checkpoints.small().save_to_preset(str(tmp_path / "p"))
    file = tmp_path / "p" / "model.weights.h5"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(convert.ConversionError, match=r"cannot be read .*get it anew"):
        convert.read(tmp_path / "p")


def test_a_preset_with_a_setting_that_nobody_knows_is_told(tmp_path):
    checkpoints.small().save_to_preset(str(tmp_path / "p"))
    for name in ("config.json", "task.json"):
        file = tmp_path / "p" / name
        text = file.read_text()
        assert '"d_model": 16' in text
        file.write_text(text.replace('"d_model": 16', '"d_model": 16, "surprise": 3'))
    with pytest.raises(convert.ConversionError) as error:
        convert.read(tmp_path / "p")
    assert "unexpected keyword argument 'surprise'" in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("address", ["nowhere", "."])
def test_an_unknown_format_says_what_is_known(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(convert.ConversionError, match="in no known format"):
        convert.read(address)


def test_what_is_at_the_target_is_never_touched(tmp_path):
    model = checkpoints.small()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    with pytest.raises(convert.ConversionError, match="is there already"):
        convert.write(model, tmp_path / "there", "hugging_face")
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    convert.write(model, tmp_path / "empty", "hugging_face")
    assert (tmp_path / "empty" / "config.json").is_file()


def test_an_error_leaves_no_target_and_nothing_else(tmp_path, monkeypatch):
    def fails(model, folder, **_):
        (folder / "half").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(hugging_face, "write", fails)
    with pytest.raises(OSError, match="disk full"):
        convert.write(checkpoints.small(), tmp_path / "out", "hugging_face")
    assert not list(tmp_path.iterdir())
    with pytest.raises(convert.ConversionError, match=r"no format 'hf' to write"):
        convert.write(checkpoints.small(), tmp_path / "out", "hf")


def test_a_target_that_came_while_it_was_written_stays(tmp_path):
    with (
        pytest.raises(convert.ConversionError, match="is there already"),
        targets.new_folder(tmp_path / "out") as folder,
    ):
        (folder / "ours").write_text("ours")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").write_text("theirs")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["theirs"]


def test_a_target_may_lie_in_new_folders_and_others_may_read_it(tmp_path):
    with targets.new_folder(tmp_path / "a" / "b") as folder:
        (folder / "ours").write_text("ours")
    assert (tmp_path / "a" / "b" / "ours").is_file()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("form", ["hugging_face", "t5x"])
def test_only_encoder_decoders_go_to_others(form, tmp_path):
    config = helpers_models.tiny(architecture="decoder-only")
    model = models.SwitchCausalLM(models.SwitchBackbone(config))
    with pytest.raises(convert.ConversionError, match="is no SwitchSeq2SeqLM"):
        convert.write(model, tmp_path / "out", form)
    convert.write(model, tmp_path / "preset")
    again = convert.read(tmp_path / "preset").model
    assert isinstance(again, models.SwitchCausalLM)
    assert convert.checksums(again) == convert.checksums(model)


def test_progress_is_told_in_bytes_or_in_what_it_counts(monkeypatch, capsys):
    log = io.StringIO()
    progress = convert.Progress(2_000_000, "Reading", log)
    for _ in range(20):
        progress(100_000, "a/weight")
    lines = log.getvalue().splitlines()
    assert len(lines) == 11 and lines[-1].startswith("Reading 2.0 of 2.0 MB (100%, ")
    convert.Progress(4, "Answering", unit="inputs")(2)
    assert "Answering 2 of 4 inputs (50%, " in capsys.readouterr().err
    # On a terminal by Keras, as training does.
    monkeypatch.setattr("keras_switch.convert.progress.is_interactive", lambda: True)
    progress = convert.Progress(3_000_000, "Reading")
    for _ in range(3):
        progress(1_000_000)
    out = capsys.readouterr().out
    assert out.startswith("Reading\n") and "3/3" in out and "/MB" in out
    assert out.endswith("\n")
