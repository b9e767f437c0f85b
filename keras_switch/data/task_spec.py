"""Tasks that are described where a run is configured, instead of registered by name."""


class TaskSpec:
    """What `DataConfig.task` takes beside the name of a registered task.

    A subclass has a `name` for logs and results.
    """

    name: str

    def task(self, vocabulary=None):
        """Returns the `seqio.Task` or `seqio.Mixture`.

        Args:
            vocabulary: `seqio.Vocabulary` in place of the one that is described.
        """
        raise NotImplementedError
