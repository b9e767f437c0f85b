import pytest

import keras_switch.tasks.wikitext as wikitext
from keras_switch.data import DataConfig, batches


@pytest.fixture
def folder(shared_data, monkeypatch):
    monkeypatch.setenv("KERAS_SWITCH_DATA", str(shared_data))


def test_an_article_is_a_row_that_begins_with_its_title(folder):
    rows = wikitext.articles("train")
    assert len(rows) == 60  # lines ` = Title = ` of valid.txt, counted with grep
    assert rows[0]["text"].startswith("= Homarus gammarus = Homarus gammarus , known")
    assert all(row["text"].startswith("= ") for row in rows)


def test_both_splits_feed_a_language_model(folder):
    config = DataConfig("wikitext2_lm", {"targets": 64}, batch_size=2)
    for split in (config, config.for_evaluation()):
        _, targets, weights = next(iter(batches(split, "decoder-only")))
        assert targets.shape == (2, 64)
        assert weights.numpy().all()


def test_without_a_folder_the_error_says_what_is_needed(monkeypatch):
    monkeypatch.delenv("KERAS_SWITCH_DATA", raising=False)
    config = DataConfig("wikitext2_lm", {"targets": 64})
    with pytest.raises(FileNotFoundError, match=r"KERAS_SWITCH_DATA.*valid\.txt"):
        batches(config, "decoder-only")
