"""What a model writes and how likely it finds targets, against plain loops of NumPy."""

import contextlib
import dataclasses
import json

import keras
import numpy as np
import pytest
import seqio
import tensorflow as tf
from helpers_partitioning import on_devices
from t5.data import postprocessors
from t5.evaluation import metrics

from keras_switch.data import DataConfig
from keras_switch.data.features import form_of
from keras_switch.evaluation import (
    Answers,
    Peaks,
    Scores,
    TaskMetrics,
    TaskResult,
    report,
)
from keras_switch.models import (
    PRESETS,
    Every,
    SwitchBackbone,
    SwitchCausalLM,
    SwitchSeq2SeqLM,
)
from keras_switch.partitioning import Mesh
from keras_switch.partitioning.clients import Alone
from keras_switch.training import CheckpointError

SIZES = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}
VOCABULARY = seqio.PassThroughVocabulary(size=64, eos_id=1)
INPUTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14], [15, 16]]
LENGTHS = {"inputs": 6, "targets": 4}


def small(preset, **changes):
    config = PRESETS[preset].config
    sparse = config.sparse and dataclasses.replace(
        config.sparse, num_experts=2, d_ff=16, placement=Every(1)
    )
    return dataclasses.replace(
        config, vocab_size=64, num_sentinels=0, sparse=sparse, **SIZES, **changes
    )


CONFIGS = {
    "encoder-decoder": small("t5_tiny"),
    "decoder": dataclasses.replace(small("switch_lm_tiny"), sparse=None),
    "prefix": dataclasses.replace(small("switch_lm_tiny"), sparse=None, prefix_lm=True),
}

# A prefix language model reads as a plain one does, and more.
KINDS = ["encoder-decoder", "prefix", pytest.param("decoder", marks=pytest.mark.slow)]


def model_of(config):
    kind = SwitchSeq2SeqLM if "encoder" in config.architecture else SwitchCausalLM
    return kind(SwitchBackbone(config))


def task(name, pairs, metric_fns, postprocess_fn=None, **columns):
    """Returns a task of token ids, which need not be registered."""

    def dataset(split, shuffle_files=False, seed=None):
        rows = {
            "inputs": tf.ragged.constant([x for x, _ in pairs]),
            "targets": tf.ragged.constant([y for _, y in pairs]),
            **{key: tf.constant(values) for key, values in columns.items()},
        }
        return tf.data.Dataset.from_tensor_slices(rows)

    feature = seqio.Feature(VOCABULARY, add_eos=False)
    return seqio.Task(
        name,
        source=seqio.FunctionDataSource(dataset, splits=["validation"]),
        output_features={"inputs": feature, "targets": feature},
        preprocessors=[],
        metric_fns=metric_fns,
        postprocess_fn=postprocess_fn,
    )


def same_share(targets, predictions):
    same = [list(t) == list(p) for t, p in zip(targets, predictions, strict=True)]
    return {"same": 100 * np.mean(same)}


def features_of(config, pairs):
    """Returns the form, and numbered examples as a model reads them."""
    source = task("any", pairs, [])
    form = form_of(config, source)
    converter = form.converter(pack=False)
    examples = source.get_dataset(LENGTHS, "validation", shuffle=False)
    return form, converter(examples, LENGTHS).enumerate()


def logits_of(model, config, inputs, targets):
    """Returns the logits behind every target, by a plain call of the whole model."""
    if "encoder" in config.architecture:
        batch = {
            "encoder_token_ids": [inputs],
            "encoder_padding_mask": [[1] * len(inputs)],
            "decoder_token_ids": [[0, *targets]],
            "decoder_padding_mask": [[1] * (1 + len(targets))],
        }
        first = 0
    else:
        row = [0, *inputs, *targets]
        batch = {"token_ids": [row], "padding_mask": [[1] * len(row)]}
        if config.prefix_lm:
            prefix = [1] * (1 + len(inputs)) + [0] * len(targets)
            batch["prefix_mask"] = [prefix]
        first = len(inputs)
    batch = {name: np.asarray(x, "int32") for name, x in batch.items()}
    return np.asarray(model(batch, training=False))[0, first:]


def written(model, config, inputs):
    """Returns the greedy answer, token after token."""
    answer = []
    for _ in range(LENGTHS["targets"]):
        answer.append(int(logits_of(model, config, inputs, answer)[-1].argmax()))
        if answer[-1] == 1:
            break
    return answer + [0] * (LENGTHS["targets"] - len(answer))


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_a_plain_loop(kind):
    config = CONFIGS[kind]
    model = model_of(config)
    form, examples = features_of(config, [(x, [2, 3, 1]) for x in INPUTS])
    answers = dict(Answers(model, form, 2, LENGTHS["targets"], 1)(examples))
    assert answers == {i: written(model, config, x) for i, x in enumerate(INPUTS)}


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_sums_of_log_probabilities(kind):
    config = CONFIGS[kind]
    model = model_of(config)
    pairs = [(x, [7 + i, 1][: 1 + i % 2]) for i, x in enumerate(INPUTS)]
    form, examples = features_of(config, pairs)
    scores = dict(Scores(model, form, 2)(examples))
    assert list(scores) == [*range(len(pairs))]
    for i, (inputs, targets) in enumerate(pairs):
        logits = logits_of(model, config, inputs, targets)[:-1].astype("float64")
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        expected = sum(row[t] for row, t in zip(logits, targets, strict=True))
        assert scores[i] == pytest.approx(expected, rel=1e-4)


def own_tasks(model, config):
    """Returns data of tasks made of a model's own answers: decoding and scoring."""
    form, examples = features_of(config, [(x, [2]) for x in INPUTS])
    answers = dict(Answers(model, form, 4, LENGTHS["targets"], 1)(examples))
    right = [(x, answers[i]) for i, x in enumerate(INPUTS)]
    right = [(x, [t for t in y if t]) for x, y in right]
    half = right[:2] + [(x, [3, 3, 3]) for x, _ in right[2:]]
    ranked = task(
        "ranked",
        [(INPUTS[i // 2], right[i // 2][1] if i % 2 else [33, 34]) for i in range(4)],
        [metrics.rank_classification],
        postprocessors.rank_classification,
        idx=[[0, 0], [0, 1], [1, 0], [1, 1]],
        is_correct=[False, True, True, False],
    )
    mixture = seqio.Mixture(
        "all",
        [
            (task("right", right, [same_share]), 1),
            (task("half", half, [same_share]), 1),
            (task("silent", right, []), 1),
            (ranked, 1),
        ],
    )
    return DataConfig(mixture, LENGTHS, 4, "validation", cut=("inputs", "targets"))


def telling(config, mesh=None):
    """Returns a model whose random weights make it say something."""
    keras.utils.set_random_seed(0)
    with mesh or contextlib.nullcontext():
        model = model_of(config)
    rng = np.random.default_rng(2)
    for weight in model.trainable_weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape).astype("float32"))
    return model


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Returns what a sparse model reaches on tasks made of its own answers."""
    config = small("switch_tiny")
    model = telling(config)
    data = own_tasks(model, config)
    folder = tmp_path_factory.mktemp("run")
    results = TaskMetrics().measure(model, data, config, folder / "answers", 7)
    return model, config, data, results, folder


def test_every_task_has_its_own_metrics_by_decoding_and_by_scoring(measured):
    _, _, _, results, _ = measured
    assert results["right"].metrics == {"same": 100.0}
    assert results["half"].metrics == {"same": 40.0}
    assert results["silent"].metrics == {}
    # The model's own answer is likelier than another, whichever is called correct.
    assert results["ranked"].metrics == {"accuracy": 50.0}
    for result in results.values():
        assert result.tokens["perplexity"] == pytest.approx(
            np.exp(result.tokens["loss"])
        )
        assert all(
            sum(layer["load"]) == pytest.approx(1) for layer in result.experts.values()
        )
    assert results["right"].score == 100
    assert results["silent"].score == -results["silent"].tokens["loss"]


def test_a_capped_evaluation_sees_the_first_examples(measured):
    model, config, data, _, _ = measured
    (half,) = (task for task in data.task.tasks if task.name == "half")
    data = dataclasses.replace(data, task=half)
    first = TaskMetrics(num_examples=2).measure(model, data, config)
    assert first["half"].metrics == {"same": 100.0}
    with pytest.raises(ValueError, match="num_examples=0"):
        TaskMetrics(num_examples=0)


def test_results_are_a_table_json_lines_and_tensorboard(measured):
    _, _, _, results, folder = measured
    table = report.table(results)
    assert "same 40.00" in table
    assert "mean of the metrics of 3 tasks: 63.33" in table
    assert "0:" in report.expert_table(results)
    report.write(results, folder, 7, "validation")
    lines = [json.loads(x) for x in (folder / "tasks.jsonl").read_text().splitlines()]
    assert [line["task"] for line in lines] == [*results]
    half = next(line for line in lines if line["task"] == "half")
    assert (half["step"], half["values"]["same"]) == (7, 40.0)
    (file,) = (folder / "tensorboard" / "validation").iterdir()
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert {"half/same", "silent/token_perplexity"} <= tags
    answers = next((folder / "answers").glob("half-*7*"))
    assert len(answers.read_text().splitlines()) == len(INPUTS)


def test_the_table_of_peaks_names_the_step_at_which_each_task_was_best():
    tokens = {"loss": 1.0, "perplexity": 2.718, "accuracy": 0.5}
    found = {
        step: {
            task: TaskResult({"accuracy": score}, tokens, {})
            for task, score in zip("ab", scores, strict=True)
        }
        for step, scores in {1000: (50, 20), 2000: (40, 30), 3000: (50, 25)}.items()
    }
    *_, a, b = report.peak_table(found).splitlines()
    assert a.split() == ["a", "1,000", "accuracy", "50.00", "2.718"]
    assert b.split() == ["b", "2,000", "accuracy", "30.00", "2.718"]


def test_a_split_that_no_task_has_is_refused(measured):
    model, config, data, _, _ = measured
    with pytest.raises(ValueError, match="No task of 'all' has a split 'test'"):
        TaskMetrics().measure(model, dataclasses.replace(data, split="test"), config)


def result(score):
    return TaskResult({"accuracy": score}, {"loss": 1.0}, {})


def test_the_weights_of_every_tasks_peak_are_kept(measured, tmp_path):
    model = measured[0]
    weight = model.trainable_variables[0]
    peaks = Peaks(model, tmp_path)
    course = {10: (50, 20), 20: (40, 30), 30: (60, 25)}
    better = {}
    for step, (a, b) in course.items():
        weight.assign(np.full(weight.shape, step))
        better[step] = peaks.update(step, {"a": result(a), "b": result(b)})
    assert better == {10: ["a", "b"], 20: ["b"], 30: ["a"]}
    assert {t: p["step"] for t, p in Peaks(model, tmp_path).best.items()} == {
        "a": 30,
        "b": 20,
    }
    assert Peaks(model, tmp_path).restore("b") == 20
    assert np.all(weight.numpy() == 20)
    assert Peaks(model, tmp_path).restore("a") == 30
    assert np.all(weight.numpy() == 30)
    with pytest.raises(CheckpointError, match="There are peaks of: a, b"):
        peaks.restore("c")


def test_a_run_that_went_back_forgets_later_peaks(measured, tmp_path):
    peaks = Peaks(measured[0], tmp_path)
    peaks.update(20, {"a": result(50)})
    assert peaks.update(10, {"a": result(40)}) == ["a"]
    assert peaks.best["a"]["step"] == 10


class Several(Alone):
    """Stands for a process of two of which the first one found no task better."""

    number, index = 2, 1

    def any(self, flag):
        assert not flag  # what this one found does not count
        return False


def test_on_several_processes_the_first_one_says_what_a_peak_is(measured, tmp_path):
    peaks = Peaks(measured[0], tmp_path)
    peaks._clients = Several()
    assert peaks.update(10, {"a": result(50)}) == []
    assert not [*tmp_path.iterdir()]


@on_devices
def check_on_a_mesh():
    config = small("switch_tiny")
    alone = telling(config)
    spread = telling(config, Mesh("data:2,model:2", "batch:data,d_ff:model"))
    data = own_tasks(alone, config)
    measurements = [TaskMetrics().measurement(x, data, config) for x in (alone, spread)]
    wanted, found = (measurement.results() for measurement in measurements)
    assert found["right"].metrics == {"same": 100.0}
    for name, result in found.items():
        assert result.metrics == wanted[name].metrics
        assert result.tokens == pytest.approx(wanted[name].tokens, rel=1e-5)
        for layer, use in wanted[name].experts.items():
            assert result.experts[layer]["load"] == pytest.approx(use["load"])
    # Again, with other weights: what was traced and read is used once more.
    for weight in spread.trainable_weights:
        weight.assign(np.zeros(weight.shape, "float32"))
    again = measurements[1].results()
    assert again["right"].metrics == {"same": 0.0}
    assert again["silent"].tokens["perplexity"] == pytest.approx(64)


@pytest.mark.slow
def test_on_a_mesh_tasks_have_the_metrics_of_one_device():
    check_on_a_mesh()
