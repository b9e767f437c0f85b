"""SeqIO tasks and mixtures by name, with the vocabulary that a run asks for."""

import dataclasses
import difflib
import pkgutil

from keras_switch.data import environment


def find(name: str, vocabulary=None):
    """Returns the `seqio.Task` or `seqio.Mixture` registered under `name`.

    Args:
        name: its name. Tasks register when the module that defines them is imported.
        vocabulary: `seqio.Vocabulary` to use in place of the task's own; `None` keeps
            that.

    Raises:
        ValueError: if there is none; says the nearest names and what to import.
    """
    seqio = environment.load("seqio")
    known = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    if name not in known:
        raise ValueError(_unknown(name, known))
    provider = seqio.get_mixture_or_task(name)
    return provider if vocabulary is None else _speaking(provider, vocabulary)


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
    # A task is named after its module, or begins with its name.
    likely = [module for module in modules if name.startswith(module)]
    near = difflib.get_close_matches(name, sorted(known), 3)
    hints = []
    if near:
        hints.append(f"The nearest names are {', '.join(map(repr, near))}.")
    hints.append(
        "Tasks register when the module that defines them is imported: write `import "
        f"keras_switch.tasks.{(likely or ['<module>'])[0]}`, in Python or in a gin "
        f"file; the modules are {', '.join(modules)}."
    )
    return f"No SeqIO task or mixture is named {name!r}. {' '.join(hints)}"


def _task_modules():
    import keras_switch.tasks

    return [module.name for module in pkgutil.iter_modules(keras_switch.tasks.__path__)]
