"""The Switch paper's tasks on files of TensorFlow Datasets with a few examples."""

import helpers_paper_tasks as cases
import helpers_tfds
import pytest
import seqio

import keras_switch.tasks.anli
import keras_switch.tasks.c4
import keras_switch.tasks.closed_book
import keras_switch.tasks.glue
import keras_switch.tasks.mc4
import keras_switch.tasks.multiple_choice
import keras_switch.tasks.squad
import keras_switch.tasks.summaries
import keras_switch.tasks.super_glue
from keras_switch.data import DataConfig, TaskMixture, batches
from keras_switch.data.catalogue import CatalogueSource
from keras_switch.data.mixing import Proportional
from keras_switch.data.registry import find

BYTES = seqio.ByteVocabulary(extra_ids=100)
LOWEST = {"glue_cola": -100.0, "glue_stsb": -100.0}  # correlations


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a function that writes a data set, once, where tasks look for it."""
    path = tmp_path_factory.mktemp("tfds")
    seqio.set_tfds_data_dir_override(str(path))
    written = set()

    def write(name, splits):
        if name not in written:
            helpers_tfds.write(name, path, splits)
            written.add(name)

    yield write
    seqio.set_tfds_data_dir_override(None)


def examples(case, folder, name=None):
    splits = {}
    for other in cases.ALL:
        if other.source == case.source:
            splits[other.source_split or other.split] = other.rows
    folder(case.source, splits)
    task = find(name or case.task, BYTES)
    return task, list(
        task.get_dataset(None, case.split, shuffle=False).as_numpy_iterator()
    )


@pytest.mark.parametrize("case", cases.PARAMETERS)
def test_a_row_is_written_as_t5_writes_it_and_scored(case, folder):
    task, found = examples(case, folder)
    pairs = [
        (x["inputs_pretokenized"].decode(), x["targets_pretokenized"].decode())
        for x in found
    ]
    assert pairs == case.pairs
    assert found[0]["targets"].tolist() == [*BYTES.encode(pairs[0][1]), BYTES.eos_id]
    right = [target for _, target in pairs]
    for metric in task.metric_fns:
        assert scored(task, metric, found, right) == pytest.approx(100)
        assert scored(task, metric, found, wrong(case)) == pytest.approx(
            LOWEST.get(case.task, 0)
        )


def wrong(case):
    """Returns answers that are all wrong: those of other classes, or nonsense."""
    answers = [target for _, target in case.pairs]
    if case.task == "super_glue_record" or len(set(answers)) == 1:
        return ["nonsense"] * len(answers)
    return answers[1:] + answers[:1]


def scored(task, metric, examples, predictions):
    """Returns the mean of what a metric tells."""
    pairs = [*zip(examples, predictions, strict=True)]
    targets = [
        task.postprocess_fn(
            x["targets_pretokenized"].decode(), example=x, is_target=True
        )
        for x, _ in pairs
    ]
    found = [task.postprocess_fn(p, example=x, is_target=False) for x, p in pairs]
    values = metric(targets, found).values()
    return sum(map(float, values)) / len(values)


@pytest.mark.parametrize("name", ["arc_easy", "winogrande"])
def test_choices_are_ranked_by_their_likelihood(name, folder):
    (case,) = (case for case in cases.OTHERS if case.task == name)
    task, found = examples(case, folder, f"{name}_rank")
    choices = [x["targets_pretokenized"].decode() for x in found]
    assert choices == (
        ["ice", "fire", "snow"] if "arc" in name else ["trophy", "case"] * 2
    )
    assert {x["inputs_pretokenized"].decode() for x in found} == {case.pairs[0][0]}
    right = [target for _, target in case.pairs]
    (metric,) = task.score_metric_fns
    targets = [task.postprocess_fn("", example=x, is_target=True) for x in found]
    correct = [x["is_correct"] for x in found]
    assert [c for c, yes in zip(choices, correct, strict=True) if yes] == right
    best = [0.0 if yes else -1.0 for yes in correct]
    assert metric(targets, best) == {"accuracy": 100.0}
    assert metric(targets, [-x for x in best]) == {"accuracy": 0.0}


def test_the_proportional_mixtures_have_t5s_rates():
    import t5.data.mixtures

    for ours, theirs in {
        "glue": "glue_v002_proportional",
        "super_glue": "super_glue_v102_proportional",
    }.items():
        mixture, t5 = map(seqio.MixtureRegistry.get, (ours, theirs))
        rates = sorted(map(mixture.get_rate, mixture.tasks))
        assert rates == sorted(map(t5.get_rate, t5.tasks))
        assert len(mixture.tasks) == len(t5.tasks)


def text(words):
    return {
        "text": " ".join(["word"] * words),
        **{"url": "u", "timestamp": "t", "content-type": "c", "content-length": "1"},
    }


def test_c4_drops_15_percent_in_spans_of_three(folder):
    folder("c4/en:3.1.0", {"validation": [text(300)]})
    lengths = {"inputs": 512, "targets": 114}
    task = find("c4_span_corruption", BYTES)
    example = next(
        task.get_dataset(lengths, "validation", shuffle=False).as_numpy_iterator()
    )
    inputs, targets = example["inputs"], example["targets"]
    # 569 tokens give 512 inputs: 85 of them noise, in 28 spans.
    assert len(inputs) == 512
    assert len(targets) == 85 + 28 + 1
    assert (targets >= BYTES.vocab_size - 100).sum() == 28


def test_languages_of_mc4_are_mixed_by_the_power_of_their_sizes(folder):
    sizes = {"de": 3, "fr": 2}
    rows = {name: [text(50)] * size for name, size in sizes.items()}
    rows |= {f"{name}-validation": [text(50)] for name in sizes}
    folder("c4/multilingual:3.1.0", rows)
    spec = TaskMixture(["mc4_de", "mc4_fr"], Proportional(temperature=1 / 0.3))
    mixture = spec.task(BYTES)
    rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
    assert rates == pytest.approx({"mc4_de": 3**0.3, "mc4_fr": 2**0.3})
    lengths = {"inputs": 32, "targets": 14}
    french = find("mc4_fr", BYTES).get_dataset(lengths, "validation", shuffle=False)
    example = next(french.as_numpy_iterator())
    assert len(example["inputs"]) == 32


def test_mc4_has_101_languages_six_of_them_in_latin_script_too():
    from tensorflow_datasets.text.c4 import MC4_LANGUAGES

    languages = keras_switch.tasks.mc4.LANGUAGES
    assert list(languages) == MC4_LANGUAGES
    latin = [code for code in languages if code.endswith("-Latn")]
    assert (len(languages) - len(latin), len(latin)) == (101, 6)
    assert len(seqio.MixtureRegistry.get("mc4").tasks) == 107


@pytest.mark.parametrize("model", ["decoder-only", "encoder-decoder"])
def test_a_task_is_packed_for_every_architecture(model, folder):
    (case,) = (case for case in cases.GLUE if case.task == "glue_sst2")
    examples(case, folder)
    lengths = {"inputs": 64, "targets": 24}
    config = DataConfig(
        "glue_sst2", lengths, 1, "validation", shuffle=False, vocabulary=BYTES
    )
    inputs, targets, weights = next(iter(batches(config, model)))
    masks = [x.numpy() for name, x in inputs.items() if name.endswith("padding_mask")]
    assert all(mask.max() == 2 for mask in masks)  # two examples in a row
    written = targets.numpy()[weights.numpy() > 0].tolist()
    expected = [
        i for label in ("negative", "positive") for i in (*BYTES.encode(label), 1)
    ]
    assert written == expected


def test_without_data_the_error_says_the_command_and_the_folder(monkeypatch):
    source = CatalogueSource("glue/cola:2.0.0", ("train",))

    def unreachable(*arguments, **keywords):
        raise ConnectionError("no network")

    monkeypatch.setattr(
        type(source.tfds_dataset.builder), "download_and_prepare", unreachable
    )
    with pytest.raises(FileNotFoundError) as caught:
        source.get_dataset("train")
    message = str(caught.value)
    assert "no network" in message
    assert "tfds build glue/cola:2.0.0 --data_dir=" in message
    assert "TFDS_DATA_DIR" in message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (keras_switch.tasks.c4.BY_HAND, "needs Apache Beam"),
        (keras_switch.tasks.summaries.XSUM_BY_HAND, "downloads/manual"),
    ],
)
def test_what_is_prepared_by_hand_is_never_downloaded(source, says, monkeypatch):
    source = CatalogueSource("glue/rte:2.0.0", ("train",), source)
    with pytest.raises(FileNotFoundError, match=says):
        source.num_input_examples("train")
