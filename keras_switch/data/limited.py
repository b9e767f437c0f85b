"""A task whose examples have less room than those of others in a mixture."""

import seqio


class LimitedTask(seqio.Task):
    """A `seqio.Task` with lengths of its own.

    Args:
        most: tokens of a feature, by name; the run's length counts where it is less.
        **arguments: of `seqio.Task`.
    """

    def __init__(self, most, **arguments):
        super().__init__(**arguments)
        self.most = dict(most)

    def get_dataset(self, sequence_length=None, *arguments, **keywords):
        if sequence_length is not None:
            sequence_length = {
                name: min(length, self.most.get(name, length))
                for name, length in sequence_length.items()
            }
        return super().get_dataset(sequence_length, *arguments, **keywords)


def limited(task, most):
    """Returns a task that gives no more tokens of a feature than `most` says."""
    strange = set(most) - set(task.output_features)
    if strange:
        raise ValueError(
            f"Lengths of task {task.name!r} are given for {sorted(strange)}, but its "
            f"features are {sorted(task.output_features)}."
        )
    return LimitedTask(
        most,
        name=task.name,
        source=task.source,
        output_features=task.output_features,
        preprocessors=task.preprocessors,
        postprocess_fn=task.postprocessor,
        metric_fns=task.metric_fns,
        shuffle_buffer_size=task.shuffle_buffer_size,
    )
