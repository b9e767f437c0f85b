"""Who follows a run: the usual observers, and one that measures tasks if asked for."""

from keras_switch import training
from keras_switch.data import DataConfig
from keras_switch.evaluation import TaskEvaluation, TaskMetrics
from keras_switch.models import ModelConfig


def observers_of(
    metrics: TaskMetrics | None,
    data: DataConfig,
    model: ModelConfig,
    model_dir,
    clients,
):
    """Returns the observers of a run, or `None` for the usual ones.

    Args:
        metrics: what to measure on every task at each evaluation; `None` for nothing.
        data: what it is measured on.
        model: what is trained.
        model_dir: folder of the run.
        clients: the processes of the run.

    Raises:
        ValueError: if there are metrics and several processes.
    """
    if metrics is None:
        return None
    if clients.number > 1:
        raise ValueError(
            f"Metrics of tasks are measured by one process, and this run has "
            f"{clients.number}: leave METRICS out, and measure its checkpoints with "
            "`keras-switch eval`."
        )
    tasks = TaskEvaluation(metrics, data, model, model_dir)
    return [*training.usual_observers(model_dir), tasks]
