"""SeqIO tasks and mixtures by name, with the vocabulary that a run asks for."""

import dataclasses
import difflib
import pathlib
import re

from keras_switch.data import environment
from keras_switch.data.task_spec import TaskSpec


def find(name, vocabulary=None):
    """Returns a `seqio.Task` or `seqio.Mixture`.

    Args:
        name: the name it is registered under: tasks register when the module that
            defines them is imported. Or a `TaskSpec`, or itself.
        vocabulary: `seqio.Vocabulary` to use in place of the task's own; `None` keeps
            that.

    Raises:
        ValueError: if there is none; says the nearest names and what to import.
    """
    if isinstance(name, TaskSpec):
        return name.task(vocabulary)
    seqio = environment.load("seqio")
    provider = _registered(name) if isinstance(name, str) else name
    if not isinstance(provider, seqio.DatasetProviderBase):
        raise ValueError(
            f"{name!r} is no task: give a name, a FileTask, a TaskMixture or a "
            "seqio.Task."
        )
    return provider if vocabulary is None else _speaking(provider, vocabulary)


def subtasks(provider) -> list:
    """Returns the tasks of a `seqio.Mixture`, or a `seqio.Task` alone."""
    return list(getattr(provider, "tasks", [provider]))


def splits_of(provider) -> list[str]:
    """Returns the names of the splits of a `seqio.Task` or `seqio.Mixture`, sorted.

    Raises:
        ValueError: if a task of others has none, which is so while its data set is not
            on this machine; says what to do.
    """
    found = set()
    for task in subtasks(provider):
        if not task.source.splits:
            raise ValueError(f"Task {task.name!r} has no splits{_absent(task)}.")
        found.update(task.splits)
    return sorted(found)


def _absent(task):
    """Words what to do about a task of TFDS whose data set is not here."""
    dataset = getattr(task.source, "tfds_dataset", None)
    if dataset is None:
        return ""
    return (
        f": its data set {dataset.name} is not in {dataset.builder.data_dir}. Prepare "
        "it, here or on a machine with a network, with\n"
        f"    tfds build {dataset.name} --data_dir=<folder>\n"
        "and set the environment variable TFDS_DATA_DIR to that folder"
    )


def _registered(name):
    seqio = environment.load("seqio")
    known = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    if name not in known:
        raise ValueError(_unknown(name, known))
    return seqio.get_mixture_or_task(name)


def _speaking(provider, vocabulary):
    """Returns a task or mixture with another vocabulary in every feature of text."""
    seqio = environment.load("seqio")
    if isinstance(provider, seqio.Mixture):
        rates = [
            (_speaking(task, vocabulary), provider.get_rate(task))
            for task in provider.tasks
        ]
        return seqio.Mixture(provider.name, rates, sample_fn=provider._sample_fn)
    features = {
        key: dataclasses.replace(feature, vocabulary=vocabulary)
        for key, feature in provider.output_features.items()
    }
    return provider.replace(output_features=features)


def _unknown(name, known):
    """Words the error for a name that nobody registered."""
    modules = _task_modules()
    near = difflib.get_close_matches(name, sorted(known), 3)
    # A task is named in its module, or begins with the module's name.
    likely = [m for m, text in modules.items() if f'"{name}"' in text]
    likely += [m for m in modules if name.startswith(m)]
    if not (near or likely):
        near, likely = _nearest_written(name, modules)
    hints = []
    if near:
        hints.append(f"The nearest names are {', '.join(map(repr, near))}.")
    hints.append(
        "Tasks register when the module that defines them is imported: write `import "
        f"keras_switch.tasks.{(likely or ['<module>'])[0]}`, in Python or in a gin "
        f"file; the modules are {', '.join(modules)}. A module of your own is named by "
        "--gin.MODULES=\"['my_package.tasks']\"."
    )
    return f"No SeqIO task or mixture is named {name!r}. {' '.join(hints)}"


def _nearest_written(name, modules):
    """Returns words in modules that are near a name, and the modules that have them."""
    words = {word for text in modules.values() for word in re.findall(r'"(\w+)"', text)}
    near = difflib.get_close_matches(name, sorted(words), 1)
    return near, [m for m, text in modules.items() for n in near if f'"{n}"' in text]


def _task_modules():
    """Returns the sources of the modules of `keras_switch.tasks`, by name."""
    import keras_switch.tasks

    (folder,) = keras_switch.tasks.__path__
    files = sorted(pathlib.Path(folder).glob("[a-z]*.py"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}
