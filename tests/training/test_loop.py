import os
import signal

import helpers_training as h
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_switch.training.adafactor import Adafactor
from keras_switch.training.experts import expert_use
from keras_switch.training.interruption import Interrupted
from keras_switch.training.logs import JsonLines, read_records
from keras_switch.training.loop import train
from keras_switch.training.losses import TokenCrossEntropy
from keras_switch.training.observers import Diverged, Observer
from keras_switch.training.schedules import InverseSquareRoot


def trained(model_dir, steps, model=None, data=None, **kwargs):
    model = model or h.dense_model(dropout=0.3)
    options = {"log_every": 2, "observers": [], **kwargs}
    history = train(
        model,
        Adafactor(InverseSquareRoot(1.0, 4), beta_1=0.9),
        TokenCrossEntropy(1e-4),
        h.dataset() if data is None else data,
        steps=steps,
        model_dir=model_dir,
        **options,
    )
    return model, history


class StopAt(Observer):
    """Sends this process a signal during a step."""

    def __init__(self, step, signum=signal.SIGINT):
        self.step, self.signum = step, signum

    def on_step(self, run):
        if run.step == self.step:
            os.kill(os.getpid(), self.signum)


def everything(model):
    return [v.numpy() for v in model.variables]


@pytest.mark.parametrize(
    ("make", "microbatches"),
    [
        (lambda: h.dense_model(dropout=0.3), 2),
        # The router's jitter and the experts' dropout draw from seeds that move on.
        (lambda: h.sparse_model(layers=1, expert_dropout_rate=0.3), 1),
    ],
)
def test_ten_steps_are_five_a_fresh_start_and_five_more_bit_for_bit(
    tmp_path, make, microbatches
):
    keras.utils.set_random_seed(1)
    straight, history = trained(None, 10, make(), microbatches=microbatches)
    keras.utils.set_random_seed(1)
    trained(tmp_path, 5, make(), microbatches=microbatches)
    keras.backend.clear_session()
    keras.utils.set_random_seed(2)
    resumed, again = trained(tmp_path, 10, make(), microbatches=microbatches)
    assert history.step == again.step == 10
    for one, other in zip(everything(straight), everything(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_and_says_how_to_go_on(tmp_path, capsys, signum):
    observers = [StopAt(3, signum)]
    with pytest.raises(Interrupted) as error:
        trained(tmp_path, 9, observers=observers, resume_command="make demo")
    assert (error.value.signal, error.value.history.step) == (signum, 3)
    assert "after step 3, saved in" in capsys.readouterr().out
    assert "Go on with:\n  make demo" in str(error.value)
    assert signal.getsignal(signum) is not None
    _, history = trained(tmp_path, 5)
    assert history.step == 5
    assert history.checkpoint.endswith("ckpt-5")


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    class Impatient(StopAt):
        def on_step(self, run):
            super().on_step(run)
            super().on_step(run)

    with pytest.raises(KeyboardInterrupt) as error:
        trained(tmp_path, 9, observers=[Impatient(2)])
    assert not isinstance(error.value, Interrupted)


def test_logs_evaluations_and_checkpoints_come_when_they_are_due(tmp_path):
    data = h.dataset(3, repeat=False, shuffle=False)
    every = {"log_every": 3, "eval_every": 4, "save_every": 5}
    _, history = trained(tmp_path, 7, h.sparse_model(), eval_data=data, **every)
    told = [(record.step, record.split) for record in history.records]
    assert told == [
        (3, "train"),
        (4, "train"),
        (4, "eval"),
        (6, "train"),
        (7, "train"),
        (7, "eval"),
    ]
    names = sorted(p.name for p in (tmp_path / "checkpoints").glob("*.index"))
    assert names == ["ckpt-5.index", "ckpt-7.index"]
    assert (history.stopped, history.step) == ("finished", 7)
    last = history.last("train")
    assert last["tokens"] > 0
    assert {"loss", "cross_entropy", "grad_norm", "dropped", "max_load"} <= set(last)
    steps, losses = history.curve("perplexity", "eval")
    assert steps == [4, 7]
    np.testing.assert_allclose(losses[-1], np.exp(history.last("eval")["loss"]))
    record = history.records[-1]
    loads = record.experts.values()
    assert len(loads) == 2
    for layer in loads:
        np.testing.assert_allclose(sum(layer["load"]), 1, rtol=1e-5)
    assert record.values["max_load"] == max(layer["max_load"] for layer in loads)
    assert record.values["dropped"] == np.mean([layer["dropped"] for layer in loads])
    seconds = [record.seconds for record in history.records]
    assert 0 < seconds[0] <= seconds[-1]


class Told(Observer):
    """Keeps what happened, and whether experts counted anything when it was told."""

    def __init__(self):
        self.saved, self.evaluated, self.loads = [], [], []

    def on_save(self, run, path):
        self.saved.append(run.step)

    def on_record(self, run, record):
        if record.split == "eval":
            self.evaluated.append(record.step)
        layers = expert_use(run.train_step.model).values()
        self.loads += [sum(layer["load"]) for layer in layers]


def test_what_is_due_at_the_end_is_done_once(tmp_path):
    told, data = Told(), h.dataset(1, repeat=False)
    every = {"log_every": 1, "eval_every": 2, "save_every": 2}
    options = {"eval_data": data, "observers": [told], **every}
    _, history = trained(tmp_path, 4, h.sparse_model(layers=1), **options)
    assert told.evaluated == told.saved == [2, 4]
    # Each record is of its own interval: the experts start anew after it.
    assert told.loads == [0.0] * 6
    # The first step was traced: it is no measure of speed.
    timed = ["tokens_per_second" in r.values for r in history.records]
    assert timed[:2] == [False, True]


def test_the_mean_of_an_interval_counts_every_token_once():
    history = trained(None, 4, log_every=4)[1]
    each = trained_alike(4)
    tokens = [values["tokens"] for values in each]
    losses = [values["loss"] for values in each]
    expected = np.average(losses, weights=tokens)
    np.testing.assert_allclose(history.last()["loss"], expected, rtol=1e-6)
    assert history.last()["tokens"] == sum(tokens)


def trained_alike(steps):
    keras.utils.set_random_seed(0)
    history = trained(None, steps, log_every=1)[1]
    return [record.values for record in history.records]


def test_training_learns_a_batch_by_heart():
    data = h.dataset(1, shuffle=False)
    _, history = trained(None, 60, data=data)
    losses = history.curve("cross_entropy")[1]
    assert losses[-1] < 0.5 * losses[0]


def test_data_that_ends_early_ends_the_run_which_says_so(tmp_path):
    _, history = trained(tmp_path, 9, data=h.dataset(3, repeat=False))
    assert history.step == 3
    assert "ended after 3 of 9 steps" in history.stopped
    assert history.checkpoint.endswith("ckpt-3")


def test_without_a_number_of_steps_the_data_decides():
    _, history = trained(None, None, data=h.dataset(3, repeat=False))
    assert (history.step, history.stopped) == (3, "finished")


def test_asking_again_for_a_finished_run_changes_nothing(tmp_path):
    data = h.dataset(2, repeat=False)
    options = {"eval_data": data, "observers": [JsonLines(tmp_path / "metrics.jsonl")]}
    trained(tmp_path, 4, **options)
    before = (tmp_path / "metrics.jsonl").read_text()
    _, history = trained(tmp_path, 4, **options)
    assert history.step == 4
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert trained(tmp_path, 3)[1].step == 4


def test_records_of_steps_that_were_lost_are_not_told_twice(tmp_path):
    file = tmp_path / "metrics.jsonl"

    class Crash(Observer):
        def on_record(self, run, record):
            if record.step == 6:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        trained(tmp_path, 8, save_every=4, observers=[JsonLines(file), Crash()])
    assert [r.step for r in read_records(file)] == [2, 4, 6]
    with file.open("a") as half:
        half.write('{"step": 8, "spl')
    _, history = trained(tmp_path, 8, observers=[JsonLines(file)])
    assert [r.step for r in read_records(file)] == [2, 4, 6, 8]
    assert [r.step for r in history.records] == [2, 4, 6, 8]


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path):
    class Break(Observer):
        def on_step(self, run):
            if run.step == 3:
                weight = run.train_step.model.weights[0]
                weight.assign(weight * np.nan)

    with pytest.raises(Diverged, match=r"nan at step 4 .*ckpt-2.*lower learning"):
        trained(tmp_path, 9, observers=[Break()], save_every=2, log_every=100)
    names = sorted(p.name for p in (tmp_path / "checkpoints").glob("*.index"))
    assert names == ["ckpt-2.index"]


def test_the_policy_mixed_float16_runs_and_resumes(tmp_path):
    def model():
        model = h.dense_model("mixed_float16")
        model.dtype_policy = "mixed_float16"
        return model

    trained(tmp_path, 2, model())
    _, history = trained(tmp_path, 4, model())
    assert history.step == 4
    assert np.isfinite(history.last()["loss"])


def test_a_model_without_weights_is_built_from_the_data():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.table = keras.layers.Embedding(h.V, h.V)

        def call(self, inputs):
            return self.table(inputs["token_ids"])

    assert trained(None, 1, Subclassed())[1].step == 1


@pytest.mark.parametrize(
    ("data", "steps", "error"),
    [
        (h.dataset(0, repeat=False), 3, "data is empty"),
        (h.dataset(1, repeat=False).filter(lambda *_: False), 3, "data is empty"),
        (h.dataset(1), None, "repeats forever"),
        (h.dataset(1), 0, "at least 1"),
    ],
)
def test_says_what_is_wrong_with_the_data(data, steps, error):
    with pytest.raises(ValueError, match=error):
        trained(None, steps, data=data)


def test_data_that_is_no_dataset_is_refused_with_advice():
    with pytest.raises(TypeError, match="from_tensor_slices"):
        trained(None, 1, data=[h.batch()])


def test_the_step_is_traced_once_in_a_run():
    class Count(Observer):
        def on_end(self, run):
            self.traces = run.train_step._run.experimental_get_tracing_count()

    count = Count()
    data = h.dataset(2, repeat=False)
    trained(None, 4, observers=[count], eval_data=data, eval_every=2)
    assert count.traces == 1
    assert tf.executing_eagerly()
