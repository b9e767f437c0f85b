"""`train`: makes the parts of a run, and runs it."""

import tensorflow as tf

from keras_switch.partitioning.clients import clients_of
from keras_switch.training.batches import build, check_split
from keras_switch.training.checkpoints import Checkpoints
from keras_switch.training.evaluate import EvalStep, evaluate
from keras_switch.training.interruption import this_command
from keras_switch.training.logs import JsonLines, Progress, TensorBoard
from keras_switch.training.observers import DivergenceGuard
from keras_switch.training.paths import path_of
from keras_switch.training.run import EMPTY, Run
from keras_switch.training.step import TrainStep


def train(
    model,
    optimizer,
    loss,
    train_data,
    *,
    steps=None,
    model_dir=None,
    eval_data=None,
    eval_steps=None,
    eval_every=None,
    save_every=None,
    log_every=10,
    keep=3,
    config=None,
    observers=None,
    resume_command=None,
    make_step=TrainStep,
    **step_options,
):
    """Trains a model; goes on by itself if `model_dir` holds a checkpoint.

    A model made on a `Mesh` is trained there. On several processes each calls this with
    its own rows of the batches (`data.batches` with `mesh.clients.share`), always as
    many batches as the others; the first one prints and logs.

    A run that is interrupted and started again makes bit for bit the same steps as one
    that was not, on the same machine: weights, optimizer, random seeds and the position
    in the data are restored.

    Args:
        model: Keras model.
        optimizer: Keras optimizer.
        loss: Keras loss, such as `TokenCrossEntropy()`.
        train_data: `tf.data.Dataset` of batches `(inputs, targets, weights)`.
        steps: steps to make in all. If the data ends earlier, the run ends there, says
            so in `history.stopped`, and has saved what it did. None: until the data
            ends.
        model_dir: folder for checkpoints and logs, or its address (`gs://...`); None
            writes nothing.
        eval_data: like `train_data`, taken from its start each time.
        eval_steps: most batches of an evaluation.
        eval_every: steps between evaluations; there is always one at the end.
        save_every: steps between checkpoints; there is always one at the end.
        log_every: steps between logs. Metrics are fetched from the device only then.
        keep: checkpoints to keep.
        config: what the model is; see `Checkpoints`. `model.config` by default.
        observers: list of `Observer`; None takes a progress bar, and with a `model_dir`
            `metrics.jsonl` and TensorBoard. A guard against divergence is always there.
        resume_command: what the user would type to go on; this process's command line
            by default.
        make_step: `TrainStep`, or a function that makes another, such as that of
            distillation.
        **step_options: of `TrainStep`: microbatches, max_grad_norm, aux_loss,
            jit_compile.

    Returns:
        The `History`.

    Raises:
        ValueError: if the data is empty or endless where it must not be.
        Diverged: if the loss is not finite.
        CheckpointError: if a checkpoint cannot be written or is of another model.
        Interrupted: on Ctrl-C or SIGTERM, after saving.
    """
    _check_data(train_data, steps)
    check_split(model, train_data.element_spec, step_options.get("microbatches", 1))
    build(model, train_data.element_spec)
    train_step = make_step(model, optimizer, loss, **step_options)
    iterator = iter(train_data)
    checkpoints = None
    if model_dir is not None:
        config = config if config is not None else getattr(model, "config", None)
        checkpoints = Checkpoints(
            model, train_step.optimizer, iterator, model_dir, config, keep
        )
    run = Run(
        train_step,
        iterator,
        checkpoints,
        steps=steps,
        evaluation=_evaluation(model, loss, eval_data, eval_steps),
        every={"log": log_every, "eval": eval_every, "save": save_every},
        observers=_observers(observers, model_dir, clients_of(model)),
        resume_command=resume_command or this_command(),
    )
    return run.run()


def usual_observers(model_dir=None):
    """Returns a progress bar, and with a folder `metrics.jsonl` and TensorBoard."""
    if model_dir is None:
        return [Progress()]
    folder = path_of(model_dir)
    files = [JsonLines(folder / "metrics.jsonl"), TensorBoard(folder / "tensorboard")]
    return [Progress(), *files]


def _observers(observers, model_dir, clients):
    if observers is None:
        observers = usual_observers(model_dir)
    mine = [o for o in observers if clients.is_first or not o.only_first]
    return [DivergenceGuard(), *mine]


def _evaluation(model, loss, data, steps):
    """Returns a function that evaluates, traced once; None without data."""
    if data is None:
        return None
    step = EvalStep(model, loss)
    return lambda: evaluate(step, data, steps)


def _check_data(data, steps):
    if not isinstance(data, tf.data.Dataset):
        raise TypeError(
            f"train_data is a {type(data).__name__}; a run needs a tf.data.Dataset, "
            "whose position it can save. tf.data.Dataset.from_tensor_slices and "
            "from_generator make one."
        )
    cardinality = int(data.cardinality())
    if cardinality == 0:
        raise ValueError(EMPTY)
    if steps is not None and steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    if steps is None and cardinality == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "The training data repeats forever: say how many steps to make."
        )
