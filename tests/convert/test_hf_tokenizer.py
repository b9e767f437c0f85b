"""Vocabularies in Hugging Face's folders."""

import json

import pytest

from keras_switch import convert, models
from keras_switch.convert import hf_files, hf_tokenizer, hugging_face

SENTENCES = ["the quick brown fox jumps over the lazy dog", "a dog walks in the park"]


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


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"spiece.model": "garbage"}, "no intact SentencePiece model"),
        ({"spiece.model": "", "tokenizer_config.json": "{"}, "is no JSON"),
    ],
)
def test_damaged_files_are_told(folder, files, message):
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(convert.ConversionError, match=message):
        hugging_face.read(folder)


def test_without_settings_there_are_a_hundred_sentinels(folder, proto):
    (folder / "spiece.model").write_bytes(proto)
    files = hf_files.Files(folder)
    assert hf_tokenizer.read(files).num_sentinels == 100
    (folder / "spiece.model").unlink()
    assert hf_tokenizer.read(files) is None


def test_a_vocabulary_without_sentinels_is_written_whole(tmp_path, proto):
    hf_tokenizer.write(models.SwitchTokenizer(proto), tmp_path)
    assert (tmp_path / "spiece.model").read_bytes() == proto
    assert hf_tokenizer.read(hf_files.Files(tmp_path)).num_sentinels == 0
