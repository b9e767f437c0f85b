"""Metrics of tasks during a run, and the weights of every task's peak."""

from keras_switch.evaluation import report
from keras_switch.evaluation.peaks import Peaks
from keras_switch.training import Observer


class TaskEvaluation(Observer):
    """Measures every task whenever a run evaluates.

    Prints a table, adds to `tasks.jsonl` and TensorBoard, and keeps the weights of each
    task's best evaluation (`peaks/`).

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

    def on_record(self, run, record):
        if record.split != "eval":
            return
        model = run.train_step.model
        self.results = self.metrics.measure(model, self.data, self.config)
        report.write(self.results, self.model_dir, record.step, self.data.split)
        better = Peaks(model, self.model_dir).update(record.step, self.results)
        print(f"\nstep {record.step}\n{report.table(self.results)}", flush=True)
        if better:
            print(f"best so far on: {', '.join(better)}", flush=True)
