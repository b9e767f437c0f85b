"""Looks at the first examples of a task before a run, for room and vocabulary."""

import inspect

from keras_switch.data import registry

LOOKED_AT = 32  # of every task: a long mixture still begins in seconds


def check(task, config, form):
    """Compares the first examples of every task with the room and the vocabulary.

    Args:
        task: `seqio.Task` or `seqio.Mixture`.
        config: `DataConfig`.
        form: what a model reads; see `features.py`.

    Raises:
        ValueError: if a sequence that may not be cut is too long, or a label cannot be
            written in the vocabulary.
    """
    for part in registry.subtasks(task):
        if config.split in part.splits:
            check_labels(part)
            _check_lengths(part, config, form)


def check_labels(task):
    """Compares the labels of a task of classes with its vocabulary.

    Raises:
        ValueError: if a label, written and read again, is another text.
    """
    labels = getattr(task.postprocessor, "keywords", {}).get("label_classes", ())
    vocabulary = getattr(task.output_features["targets"], "vocabulary", None)
    for label in labels:
        read = vocabulary.decode(vocabulary.encode(label))
        if read != label:
            raise ValueError(
                f"The label {label!r} of task {task.name!r} is outside the vocabulary: "
                f"written and read again it is {read!r}. Rename the label, or give a "
                "vocabulary that has its letters (DataConfig.vocabulary)."
            )


def _check_lengths(task, config, form):
    kept = [name for name in form.features if name not in config.cut]
    if not kept or _fills_lengths(task):
        return
    examples = task.get_dataset(
        None, config.split, shuffle=False, use_cached=config.cache is not None
    )
    for number, example in enumerate(examples.take(LOOKED_AT)):
        for name in kept:
            length, room = int(example[name].shape[0]), config.lengths[name]
            if length > room:
                raise ValueError(
                    f"Example {number} of task {task.name!r}, split {config.split!r}, "
                    f"has {length} tokens of {name!r}, but there is room for {room}: "
                    f"give lengths={{{name!r}: {length}, ...}} or more (LENGTHS in gin "
                    f"files), or let it be cut: DataConfig.cut={(*config.cut, name)}."
                )


def _fills_lengths(task):
    """Returns whether a preprocessor makes sequences of the lengths that it is told."""
    for step in task.preprocessors:
        found = inspect.signature(step).parameters.get("sequence_length")
        if found is not None and found.default is inspect.Parameter.empty:
            return True
    return False
