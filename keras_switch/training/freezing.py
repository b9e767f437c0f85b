"""Which weights are trained: chosen by parts of their paths."""

import dataclasses
import math

import keras

from keras_switch.models.lora import variables_of
from keras_switch.models.paths import checked, matching
from keras_switch.routing.part import Part


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What is trained after a choice, and what is not.

    Args:
        trained: paths of the weights that are trained.
        frozen: paths of the others.
        parameters: numbers of parameters of both.
    """

    trained: tuple[str, ...]
    frozen: tuple[str, ...]
    parameters: tuple[int, int]

    def __str__(self):
        number = len(self.trained) + len(self.frozen)
        return (
            f"trains {len(self.trained)} of {number} weights, {self.parameters[0]:,} "
            f"of {sum(self.parameters):,} parameters"
        )


class Choice(Part):
    """Base of `Trainable` and `Frozen`: frozen dataclasses of one field, patterns."""

    def __post_init__(self):
        (field,) = dataclasses.fields(self)
        patterns = checked(type(self).__name__, getattr(self, field.name))
        object.__setattr__(self, field.name, patterns)

    def apply(self, model) -> Chosen:
        """Chooses; call it before `compile`, or before a `TrainStep` is made.

        Optimizers then make slots for the trained weights alone.

        Args:
            model: a built Keras model.

        Raises:
            ValueError: if a pattern matches no weight, nothing is left to train, or an
                optimizer has made its slots already.
        """
        _check(model)
        variables = variables_of(model)
        (field,) = dataclasses.fields(self)
        found = matching(
            [v.path for v in variables],
            getattr(self, field.name),
            f"{type(self).__name__} of {model.name!r}",
        )
        wanted = [self._trains(v.path in found, v.trainable) for v in variables]
        if not any(wanted):
            raise ValueError(f"{self} leaves no weight of {model.name!r} to train.")
        for variable, trained in zip(variables, wanted, strict=True):
            variable.trainable = trained
        return chosen(model)

    @staticmethod
    def _trains(matched, before):
        """Returns whether a weight is trained.

        Args:
            matched: whether a pattern matches its path.
            before: whether it was trained so far.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class Trainable(Choice):
    """Only these weights are trained; all others are frozen.

    Args:
        only: parts of paths: `["router"]`, `["experts"]`, `["decoder", "*norm"]`; see
            `models.paths`.

    Example:
        >>> print(Trainable(only=["router"]).apply(model))
        trains 2 of 50 weights, 1,024 of 378,752 parameters
    """

    only: tuple[str, ...]

    @staticmethod
    def _trains(matched, before):
        return matched


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class Frozen(Choice):
    """These weights are not trained; the others stay as they are, trained or frozen.

    Args:
        parts: parts of paths: `["experts"]` trains all but experts, `["encoder"]`, ...;
            see `models.paths`.
    """

    parts: tuple[str, ...]

    @staticmethod
    def _trains(matched, before):
        return before and not matched


def chosen(model) -> Chosen:
    """Returns which weights of a model are trained."""
    variables = variables_of(model)

    def paths(trained):
        return tuple(v.path for v in variables if v.trainable is trained)

    sizes = {True: 0, False: 0}
    for variable in variables:
        sizes[variable.trainable] += math.prod(variable.shape)
    return Chosen(paths(True), paths(False), (sizes[True], sizes[False]))


def _check(model):
    if not model.built:
        raise ValueError(
            f"The model {model.name!r} has no weights yet: call it once on a batch of "
            "inputs, then choose what is trained."
        )
    if getattr(getattr(model, "optimizer", None), "built", False):
        raise ValueError(
            f"The optimizer of {model.name!r} has made its slots already: choose what "
            "is trained before `compile`, or compile again afterwards."
        )
