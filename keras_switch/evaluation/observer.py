"""Metrics of tasks during a run, and the weights of every task's peak."""

from keras_switch.evaluation import report
from keras_switch.evaluation.peaks import Peaks
from keras_switch.training import Observer


class TaskEvaluation(Observer):
    """Measures every task whenever a run evaluates.

    Prints a table, adds to `tasks.jsonl` and TensorBoard, and keeps the weights of each
    task's best evaluation (`peaks/`). On several processes every one has this observer,
    and the first one prints and writes.

    Args:
        metrics: `TaskMetrics`.
        data: `DataConfig` of what is measured.
        config: `ModelConfig` of the model.
        model_dir: folder of the run.
    """

    def __init__(self, metrics, data, config, model_dir):
        self.metrics = metrics
        self.data = data
        self.config = config
        self.model_dir = model_dir
        self.results = {}  # of the last evaluation
        self._measurement = None

    def on_start(self, run):
        model = run.train_step.model
        self._measurement = self.metrics.measurement(model, self.data, self.config)

    def on_record(self, run, record):
        if record.split != "eval":
            return
        self.results = self._measurement.results(record.step)
        better = Peaks(run.train_step.model, self.model_dir).update(
            record.step, self.results
        )
        if run.clients.is_first:
            self._tell(record.step, better)

    def _tell(self, step, better):
        report.write(self.results, self.model_dir, step, self.data.split)
        print(f"\nstep {step}\n{report.table(self.results)}", flush=True)
        if better:
            print(f"best so far on: {', '.join(better)}", flush=True)
