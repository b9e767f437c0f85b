import pathlib
import pickle
import shutil
import urllib.error

import pytest
import seqio

from keras_switch.data import published
from keras_switch.data.published import PublishedVocabulary

MODEL = "test_data/sentencepiece/sentencepiece.model"  # of SeqIO's own tests


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SWITCH_DATA", str(tmp_path))
    monkeypatch.setenv("KERAS_SWITCH_CACHE", str(tmp_path / "cache"))


def test_a_file_in_the_data_folder_is_read_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "_downloaded", None)
    (tmp_path / "vocabularies").mkdir()
    source = pathlib.Path(seqio.__file__).parent / MODEL
    shutil.copy(source, tmp_path / "vocabularies" / "t5.model")
    vocabulary = PublishedVocabulary("t5")
    other = seqio.SentencePieceVocabulary(str(source), extra_ids=100)
    assert vocabulary.encode("this is a test") == other.encode("this is a test")
    assert (
        vocabulary
        == PublishedVocabulary("t5")
        == pickle.loads(pickle.dumps(vocabulary))
    )
    assert vocabulary != PublishedVocabulary("mt5")


def test_without_a_network_the_error_says_which_file_is_needed_where(monkeypatch):
    def unreachable(*arguments, **keywords):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(published.urllib.request, "urlopen", unreachable)
    with pytest.raises(FileNotFoundError) as caught:
        PublishedVocabulary("mt5").encode("a")
    message = str(caught.value)
    assert "no network" in message
    assert "mc4.250000.100extra/sentencepiece.model" in message
    assert "$KERAS_SWITCH_DATA/vocabularies/mt5.model" in message
