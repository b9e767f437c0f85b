import helpers_data
import pytest
import seqio

from keras_switch.data import DataConfig, batches, registry
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


def test_names_of_modules_that_are_not_imported_are_near_too(monkeypatch):
    written = {"farm": '"cows"', "zoo": 'task("zebra_facts")'}
    monkeypatch.setattr(registry, "_task_modules", lambda: written)
    with pytest.raises(
        ValueError, match=r"'zebra_facts'.*import keras_switch\.tasks\.zoo`"
    ):
        find("zebra_fatcs")


def test_a_task_of_others_whose_data_set_is_not_here_says_what_to_do(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", str(tmp_path))
    seqio.TaskRegistry.add(
        "from_t5",
        source=seqio.TfdsDataSource("glue/cola:2.0.0"),
        output_features={"targets": seqio.Feature(BYTES)},
        preprocessors=[],
    )
    with pytest.raises(
        ValueError, match=r"(?s)no splits.*glue/cola:2.0.0 is not in.*tfds"
    ):
        batches(DataConfig("from_t5", {"targets": 3}), "decoder-only")
    seqio.TaskRegistry.remove("from_t5")


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
