"""Many tasks on the small real data sets beside the checkout, if they are there."""

import pytest
import seqio

import keras_switch.tasks.multi30k as multi30k
import keras_switch.tasks.nq_open as nq_open
import keras_switch.tasks.several as several
from keras_switch.data import DataConfig, batches, registry

BYTES = seqio.ByteVocabulary(extra_ids=100)


@pytest.fixture
def real(shared_data, monkeypatch):
    monkeypatch.setenv("KERAS_SWITCH_DATA", str(shared_data))


def first(name, split="validation"):
    examples = registry.find(name, BYTES).get_dataset(None, split, shuffle=False)
    example = next(examples.as_numpy_iterator())
    return [example[f"{x}_pretokenized"].decode() for x in ("inputs", "targets")]


def test_captions_are_translated_in_twelve_directions(real):
    assert first("multi30k_en_de") == [
        "translate English to German: A group of men are loading cotton onto a truck",
        "Eine Gruppe von Männern lädt Baumwolle auf einen Lastwagen",
    ]
    inputs, targets = first("multi30k_cs_fr")
    assert inputs.startswith("translate Czech to French: ")
    assert targets.startswith("Un groupe d'hommes")
    assert len(multi30k.rows("en", "de", "train")) == 29_000
    assert len(seqio.MixtureRegistry.get("multi30k").tasks) == 12


def test_translations_are_scored_by_bleu():
    (bleu,) = seqio.TaskRegistry.get("multi30k_en_de").metric_fns
    text = ["Eine Gruppe von Männern lädt Baumwolle auf"]
    assert bleu(text, text)["bleu"] == pytest.approx(100)
    assert bleu(text, ["something else is here now"])["bleu"] < 10


def test_languages_of_different_lengths_are_refused(tmp_path, monkeypatch):
    import gzip

    (tmp_path / "multi30k").mkdir()
    for language, text in {"en": "a\nb\n", "de": "a\n"}.items():
        path = tmp_path / "multi30k" / f"val.{language}.gz"
        path.write_bytes(gzip.compress(text.encode()))
    monkeypatch.setenv("KERAS_SWITCH_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="2 sentences of 'en', but 1 of 'de'"):
        first("multi30k_en_de")


def test_questions_have_all_their_answers(real):
    assert first("nq_open", "train") == [
        "nq question: when was the last time anyone was on the moon",
        "14 December 1972 UTC",
    ]
    rows = nq_open.rows("train")
    assert rows[0]["answers"] == ["14 December 1972 UTC", "December 1972"]
    assert (len(rows), len(nq_open.rows("validation"))) == (3610, 1800)


def test_the_mixtures_have_the_rates_of_their_sizes(real):
    sizes = {"sst2": 6228, "trec": 4906, "multi30k_en_de": 29_000, "nq_open": 3610}
    sizes["wikitext2_span_corruption"] = several.WIKITEXT_EXAMPLES
    for name, rate in {
        "several_proportional": lambda n: min(n, 10_000),
        "several_temperature": lambda n: n**0.5,
        "several_equal": lambda n: 1,
    }.items():
        mixture = seqio.MixtureRegistry.get(name)
        rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
        assert len(rates) == 11
        assert {task: rates[task] for task in sizes} == pytest.approx(
            {task: rate(size) for task, size in sizes.items()}
        )


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "validation"])
def test_all_tasks_go_into_the_same_batches(real, split):
    config = DataConfig(
        "several_proportional",
        {"inputs": 128, "targets": 128},
        64,
        split,
        pack=False,
        cut=("inputs", "targets"),
    )
    inputs, targets, _ = next(iter(batches(config, "encoder-decoder")))
    vocabulary = several.vocabulary()
    texts = [
        vocabulary.decode(row.tolist()) for row in inputs["encoder_token_ids"].numpy()
    ]
    for beginning in ("sst2 sentence:", "translate", "nq question:"):
        assert any(text.startswith(beginning) for text in texts)
    assert (targets.numpy() < 4096).all()
