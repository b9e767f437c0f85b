"""Mixtures of tasks: how often each of them gives an example."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from keras_switch.data import environment
from keras_switch.data.task_spec import TaskSpec


@dataclasses.dataclass(frozen=True)
class Proportional:
    """A task of n examples has the rate `min(n, maximum) ** (1 / temperature)`.

    T5 (arXiv:1910.10683, section 3.5.2) calls this examples-proportional mixing with an
    artificial limit, and temperature-scaled mixing.

    Args:
        maximum: examples that count at most, so that a huge task leaves room for small
            ones; `None` for no limit.
        temperature: 1 keeps the proportions, more evens them out; mT5's is 1 / 0.3.

    Raises:
        ValueError: if a number is not above 0.
    """

    maximum: int | None = None
    temperature: float = 1.0

    def __post_init__(self):
        if self.temperature <= 0 or (self.maximum is not None and self.maximum <= 0):
            raise ValueError(f"{self}: both numbers must be above 0.")

    def __call__(self, task) -> float:
        """Returns the rate of a `seqio.Task` by its split `train`."""
        return self.of(num_examples(task, "train"))

    def of(self, size: int) -> float:
        """Returns the rate of a task of `size` examples."""
        return min(size, self.maximum or math.inf) ** (1 / self.temperature)


@dataclasses.dataclass(frozen=True)
class Equal:
    """Every task has the same rate."""

    def __call__(self, task) -> float:
        """Returns 1."""
        return self.of(None)

    def of(self, size) -> float:
        """Returns 1."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class TaskMixture(TaskSpec):
    """Several tasks, mixed as a run says.

    Args:
        tasks: names of registered tasks, or descriptions such as `FileTask`; or a
            dictionary from names to rates.
        rates: `Proportional` or `Equal`, or any function of a `seqio.Task`; unless
            `tasks` says the rates.
        lengths: by task, the most tokens of each feature, where that is less than the
            run's: `{"sst2": {"inputs": 64, "targets": 4}}`.
        name: for logs and results.

    Raises:
        ValueError: if there is no task, or `lengths` is of another one.
    """

    tasks: Sequence[str | TaskSpec] | Mapping[str, float]
    rates: Proportional | Equal = Proportional()
    lengths: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    name: str = "mixture"

    def __post_init__(self):
        if not self.tasks:
            raise ValueError("TaskMixture.tasks is empty: name the tasks to mix.")
        names = [getattr(task, "name", task) for task in self.tasks]
        strange = [name for name in self.lengths if name not in names]
        if strange:
            raise ValueError(
                f"TaskMixture.lengths is about {strange}, but tasks are {names}."
            )

    def task(self, vocabulary=None):
        """Returns the `seqio.Mixture`; see `TaskSpec`."""
        from keras_switch.data import registry
        from keras_switch.data.limited import limited

        weighted = isinstance(self.tasks, Mapping)
        pairs = []
        for spec in self.tasks:
            task = registry.find(spec, vocabulary)
            if task.name in self.lengths:
                task = limited(task, self.lengths[task.name])
            rate = float(self.tasks[spec]) if weighted else self._rate(task)
            pairs.append((task, rate))
        check_alike(self.name, [task for task, _ in pairs])
        return environment.load("seqio").Mixture(self.name, pairs)

    def _rate(self, task):
        """Returns the rate as SeqIO wants it: of a mixture a number."""
        tasks = getattr(task, "tasks", None)
        return self.rates if tasks is None else sum(map(self.rates, tasks))


def add_mixture(name: str, tasks, rates):
    """Registers a mixture of registered tasks.

    Args:
        name: its name.
        tasks: names, or a dictionary from names to rates.
        rates: function of a task; unused if `tasks` says the rates.
    """
    pairs = tasks.items() if isinstance(tasks, Mapping) else ((t, rates) for t in tasks)
    environment.load("seqio").MixtureRegistry.add(name, [*pairs])


def num_examples(task, split: str) -> int:
    """Returns the examples of a split of a task, before any preprocessing.

    Raises:
        ValueError: if the source does not know.
    """
    count = getattr(task.source, "num_rows", task.num_input_examples)
    try:
        size = count(split)
    except FileNotFoundError:
        if not task.cache_dir:
            raise
        size = task.get_cached_stats(split)["examples"]
    if size is None:
        raise ValueError(
            f"The source of task {task.name!r} does not tell how many examples it has, "
            "so it has no proportional rate: give the rate, as in "
            f"TaskMixture.tasks = {{{task.name!r}: 1000}}."
        )
    return int(size)


def check_alike(name: str, tasks):
    """Compares features and vocabularies of the tasks of a mixture.

    Args:
        name: of the mixture.
        tasks: of `seqio.Task`, or of `seqio.Mixture`.

    Raises:
        ValueError: if two tasks have other features, or speak of other words.
    """
    first, *others = tasks
    mine = first.output_features
    for task in others:
        theirs = task.output_features
        if set(mine) != set(theirs):
            raise ValueError(
                f"Tasks of mixture {name!r} must have the same features, but "
                f"{first.name!r} has {sorted(mine)} and {task.name!r} "
                f"{sorted(theirs)}: mix tasks with inputs, or tasks without."
            )
        if any(_words(mine[key]) != _words(theirs[key]) for key in mine):
            raise ValueError(
                f"Tasks of mixture {name!r} must have the same vocabulary, but "
                f"{first.name!r} and {task.name!r} have their own. Give one for all: "
                "DataConfig.vocabulary, such as --gin.DataConfig.vocabulary="
                "@embedded_vocabulary()."
            )


def _words(feature):
    return getattr(feature, "vocabulary", None)


def check_rates(task, split: str):
    """Compares the rates of a mixture with zero.

    Args:
        task: `seqio.Mixture`, or a `seqio.Task`, which has none.
        split: the split that is read; tasks without it do not count.

    Raises:
        ValueError: if they sum to zero, or one is below.
    """
    if not hasattr(task, "get_rate"):
        return
    rates = {t.name: task.get_rate(t) for t in task.tasks if split in t.splits}
    if min(rates.values(), default=0) < 0 or not sum(rates.values()) > 0:
        told = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
        raise ValueError(
            f"The rates of mixture {task.name!r} on split {split!r} must be 0 or more "
            f"and not all 0, but they are: {told or 'none'}. Raise the rate of a task "
            "that has this split."
        )
