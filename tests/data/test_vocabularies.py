import copy
import pickle
import random

import pytest
import seqio

from keras_switch.data import corpus, vocabularies
from keras_switch.data.lazy_vocabulary import EmbeddedVocabulary


@pytest.fixture
def texts(monkeypatch, tmp_path):
    """Puts a small invented language in place of the corpus."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklm", k=5)) for _ in range(300)]
    texts = tuple(" ".join(draw.choices(words, k=30)) for _ in range(200))
    monkeypatch.setattr(corpus, "documents", lambda split: texts)
    monkeypatch.setenv("KERAS_SWITCH_CACHE", str(tmp_path))
    return texts


def test_ids_are_t5s_and_sentinels_count_down_from_the_top(texts):
    vocabulary = EmbeddedVocabulary(240, num_sentinels=100)
    assert vocabulary.vocab_size == 240
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert vocabulary.encode("<extra_id_0> <extra_id_99>") == [239, 140]
    assert vocabulary.decode(vocabulary.encode(texts[3])) == texts[3]


def test_tensorflow_and_python_tokenise_alike(texts):
    vocabulary = EmbeddedVocabulary(240, num_sentinels=100)
    ids = vocabulary.encode_tf(texts[5]).numpy().tolist()
    assert ids == vocabulary.encode(texts[5])
    assert 100 < max(ids) + 100 < 240


def test_training_is_the_same_to_the_last_byte(texts):
    assert vocabularies.train(texts, 140) == vocabularies.train(texts, 140)


def test_a_vocabulary_is_trained_when_first_used_and_once(texts, tmp_path):
    first = EmbeddedVocabulary(240, num_sentinels=100)
    assert list(tmp_path.iterdir()) == []
    first.load_model()
    (model,) = tmp_path.iterdir()
    made = model.stat().st_mtime_ns
    assert EmbeddedVocabulary(240, 100).sentencepiece_model_file == str(model)
    assert model.stat().st_mtime_ns == made


def test_equal_sizes_are_equal_loaded_or_not_and_survive_copies(texts):
    loaded = EmbeddedVocabulary(240, num_sentinels=100)
    loaded.load_model()
    assert loaded == EmbeddedVocabulary(240, num_sentinels=100)
    assert loaded != EmbeddedVocabulary(241, num_sentinels=100)
    for same in (copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert same == loaded
        assert same.encode(texts[0]) == loaded.encode(texts[0])


def test_too_few_ids_are_refused():
    with pytest.raises(ValueError, match=r"size 128 .*100 sentinels.*at least 512"):
        vocabularies.embedded_vocabulary(128)


def test_more_ids_than_the_text_has_pieces_are_refused(texts):
    with pytest.raises(ValueError, match=r"vocabulary of 100000 pieces.*Ask for fewer"):
        vocabularies.train(texts, 100_000)


def test_a_vocabulary_is_read_from_a_file(texts, tmp_path):
    path = tmp_path / "own.model"
    path.write_bytes(vocabularies.train(texts, 140))
    assert vocabularies.vocabulary(str(path)).vocab_size == 240
    assert vocabularies.vocabulary(str(path), extra_ids=0).vocab_size == 140
    with pytest.raises(FileNotFoundError, match=r"no vocabulary at 'nowhere.model'"):
        vocabularies.vocabulary("nowhere.model")


@pytest.mark.parametrize(
    ("ids", "rows"), [(32_100, 32_128), (4_096, 4_096), (4_097, 4_224)]
)
def test_token_tables_are_rounded_up_as_t5s(ids, rows):
    assert vocabularies.embedding_size(seqio.PassThroughVocabulary(ids)) == rows
