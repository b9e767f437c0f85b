"""A run in progress: steps, and between them logs, evaluations and checkpoints."""

import signal
import time

from keras_switch.partitioning.clients import ProcessLost, clients_of
from keras_switch.training import experts
from keras_switch.training.interruption import Interrupted, Interruption
from keras_switch.training.records import History, Record, average

EMPTY = (
    "The training data is empty: not one batch. With drop_remainder=True the data must "
    "hold at least one full batch; check the split, the filters and the lengths."
)


class Run:
    """A run in progress; made by `train`, seen by observers.

    Attributes:
        step: steps made so far.
        steps: steps to make in all, or None.
        history: the `History` so far.
        train_step: the `TrainStep`.
        checkpoints: the `Checkpoints`, or None.
        clients: the processes that take part; see `partitioning.clients`.
    """

    def __init__(
        self,
        train_step,
        iterator,
        checkpoints,
        *,
        steps,
        evaluation,
        every,
        observers,
        resume_command,
    ):
        self.train_step = train_step
        self.checkpoints = checkpoints
        self.clients = clients_of(train_step.model)
        self.steps = steps
        self.step = 0
        self.history = History()
        self._iterator = iterator
        self._evaluation = evaluation
        self._every = every
        self._observers = observers
        self._resume_command = resume_command
        self._pending = []  # metrics of the steps since the last log, on the device
        self._fetched = []  # the same, those that have been fetched
        self._evaluated = self._saved = None  # last step of each
        self._stopping = False  # whether a process was asked to stop, and all know it

    def run(self):
        """Makes the steps; returns the history."""
        try:
            with self.clients.watched():
                self._run()
        except ProcessLost as lost:
            kept = self.checkpoints and self.checkpoints.latest
            raise ProcessLost(
                f"{lost} {kept or 'Nothing'} is saved. Start all processes again with "
                f"the same command, and the run goes on from there:\n"
                f"  {self._resume_command}"
            ) from lost
        return self.history

    def save(self):
        """Saves a checkpoint of the steps made so far, unless there is one."""
        self._fetch()
        if self.checkpoints is None or self._saved == self.step:
            return
        path = self.checkpoints.save(self.step)
        self._saved, self.history.checkpoint = self.step, path
        self._tell("on_save", path)

    def log(self):
        """Records the average of the steps since the last log."""
        self._fetch()
        if not self._fetched:
            return
        use = experts.expert_use(self.train_step.model)
        values = {**average(self._fetched), **experts.expert_summary(use)}
        now = time.monotonic()
        if now > self._since and self._timed:
            tokens = sum(m["tokens"] for m in self._fetched[-self._timed :])
            values["tokens_per_second"] = tokens / (now - self._since)
        self._record("train", values, use)
        self._fetched, self._timed = [], 0
        self._since = time.monotonic()

    def evaluate(self):
        """Records an evaluation of the weights as they are."""
        if self._evaluation is None or self._evaluated == self.step:
            return
        self.log()
        experts.reset_experts(self.train_step.model)
        values = self._evaluation()
        use = experts.expert_use(self.train_step.model)
        self._record("eval", {**values, **experts.expert_summary(use)}, use)
        self._evaluated = self.step
        if self.checkpoints is not None:
            self.checkpoints.save_best(self.step, values["loss"])
        self._since = time.monotonic()

    def _run(self):
        if self.checkpoints is not None:
            self.step = self._saved = self.checkpoints.restore()
        with Interruption() as interruption:
            self._tell("on_start")
            try:
                self._begin()
                self._loop(interruption)
                self._finish(interruption)
            finally:
                self._tell("on_end")

    def _begin(self):
        self.history.step = self.step
        self.history.checkpoint = self.checkpoints and self.checkpoints.latest
        self._began = self._since = time.monotonic()
        self._timed = 0
        if (self.step, "eval") in [(r.step, r.split) for r in self.history.records]:
            self._evaluated = self.step
        experts.reset_experts(self.train_step.model)

    def _loop(self, interruption):
        first = True
        while not (self._stopping or self._is_complete()):
            batch = next(self._iterator, None)
            if batch is None:
                break
            metrics = self.train_step(batch)
            self.step += 1
            self.history.step = self.step
            self._pending.append(metrics)
            self._timed += not first
            if first:  # it was traced and perhaps compiled: not a step to be timed
                float(metrics["loss"])
                self._since, first = time.monotonic(), False
            self._tell("on_step")
            if self._is_due("log"):
                self.log()
            if self._is_due("eval"):
                self.evaluate()
            if self._is_due("save"):
                self.save()
            self._stopping = self.clients.poll(interruption.signal is not None)

    def _finish(self, interruption):
        self.log()
        if self._stopping:
            self._stop(interruption.signal or signal.SIGTERM)
        if self.step == 0:
            raise ValueError(EMPTY)
        short = self.steps is not None and not self._is_complete()
        self.history.stopped = (
            f"the training data ended after {self.step} of {self.steps} steps: repeat "
            "it (num_epochs=None, or dataset.repeat()) to make them all"
            if short
            else "finished"
        )
        self.evaluate()
        self.save()

    def _stop(self, signum):
        self.history.stopped = "interrupted"
        self.save()
        where = (
            f"saved in {self.history.checkpoint}. Go on with:\n  {self._resume_command}"
            if self.checkpoints is not None
            else "not saved, since the run has no model_dir."
        )
        message = f"\nStopped after step {self.step}, {where}"
        if self.clients.is_first:
            print(message, flush=True)
        raise Interrupted(message, signum, self.history)

    def _fetch(self):
        """Fetches metrics from the device and shows them to the observers."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        metrics = [{k: float(v) for k, v in step.items()} for step in pending]
        self._fetched += metrics
        self._tell("on_steps", self.step - len(metrics) + 1, metrics)

    def _record(self, split, values, use):
        seconds = time.monotonic() - self._began
        record = Record(self.step, split, values, use, seconds)
        self.history.records.append(record)
        experts.reset_experts(self.train_step.model)
        self._tell("on_record", record)

    def _is_complete(self):
        return self.steps is not None and self.step >= self.steps

    def _is_due(self, what):
        every = self._every[what]
        return bool(every) and self.step % every == 0

    def _tell(self, method, *args):
        for observer in self._observers:
            getattr(observer, method)(self, *args)
