import helpers_data
import pytest
import seqio

from keras_switch.data import DataConfig, batches
from keras_switch.data.registry import find

BYTES = seqio.ByteVocabulary(extra_ids=100)


@pytest.fixture
def mixture():
    examples = helpers_data.counted(4), helpers_data.counted(4, first=500)
    with (
        helpers_data.registered("first", examples[0]),
        helpers_data.registered("second", examples[1]),
    ):
        seqio.MixtureRegistry.add("both", [("first", 1), ("second", 3)])
        yield "both"
        seqio.MixtureRegistry.remove("both")


def test_an_unknown_name_gets_the_nearest_and_the_module_to_import(mixture):
    with pytest.raises(ValueError, match=r"'boht'.*nearest names are 'both'"):
        find("boht")
    with pytest.raises(
        ValueError, match=r"(?s)import keras_switch\.tasks\.pydocs`.*wikitext"
    ):
        find("pydocs_span_corrupted")


def test_another_vocabulary_takes_the_place_of_a_tasks_own(mixture):
    task = find("first", BYTES)
    assert [f.vocabulary for f in task.output_features.values()] == [BYTES] * 2
    assert seqio.TaskRegistry.get("first").output_features["inputs"].vocabulary != BYTES


def test_another_vocabulary_keeps_a_mixtures_rates(mixture):
    both = find(mixture, BYTES)
    assert {t.name: both.get_rate(t) for t in both.tasks} == {"first": 1, "second": 3}
    vocabularies = [t.output_features["targets"].vocabulary for t in both.tasks]
    assert vocabularies == [BYTES] * 2


def test_a_mixture_feeds_a_model_from_all_its_tasks(mixture):
    config = DataConfig(mixture, {"inputs": 3, "targets": 3}, 32, pack=False)
    _, targets, _ = next(iter(batches(config, "encoder-decoder")))
    first, second = (int((targets[:, 0] // 500 == i).numpy().sum()) for i in range(2))
    assert first + second == 32
    assert 0 < first < second
