import pytest
import seqio

import keras_switch.tasks.sentences as sentences

SIZES = {"sst2": (6228, 692, 1821), "trec": (4906, 546, 500), "subj": (8100, 900, 1000)}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Writes a training split of two sentences, lines ended as in the real files."""
    (tmp_path / "sst2").mkdir()
    text = "sentence\tlabel\r\na fine\tfilm .\t1\r\na bore .\t0\r\n"
    (tmp_path / "sst2" / "train.tsv").write_bytes(text.encode())
    monkeypatch.setenv("KERAS_SWITCH_DATA", str(tmp_path))


def test_a_sentence_becomes_a_question_and_its_label_a_word(small):
    task = seqio.TaskRegistry.get("sst2")
    vocabulary = task.output_features["inputs"].vocabulary
    dataset = task.get_dataset({"inputs": 64, "targets": 8}, "train", shuffle=False)
    texts = [
        tuple(vocabulary.decode(x[key].tolist()) for key in ("inputs", "targets"))
        for x in dataset.as_numpy_iterator()
    ]
    assert texts == [
        ("sst2 sentence: a fine film .", "positive"),
        ("sst2 sentence: a bore .", "negative"),
    ]


def test_decoded_words_are_scored_as_classes():
    task = seqio.TaskRegistry.get("trec")
    classes = [
        task.postprocess_fn(word, example={}, is_target=True)
        for word in ("description", "number", "nonsense")
    ]
    assert classes == [0, 5, -1]
    (accuracy,) = task.predict_metric_fns
    assert accuracy([0, 5], [0, -1]) == {"accuracy": 50.0}


@pytest.mark.parametrize("task", SIZES)
def test_the_real_files_have_their_published_sizes(task, shared_data, monkeypatch):
    monkeypatch.setenv("KERAS_SWITCH_DATA", str(shared_data))
    rows = [sentences.rows(task, split) for split in ("train", "validation", "test")]
    assert tuple(map(len, rows)) == SIZES[task]
    labels = {row["targets"] for row in rows[0]}
    assert labels == set(sentences.LABELS[task])
