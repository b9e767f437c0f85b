"""Base of this library's options: frozen dataclasses that Keras can save."""

import dataclasses

import keras


class Part:
    """An option object: frozen, compared by value, written into a layer's config.

    A subclass is a frozen dataclass, registered with
    `keras.saving.register_keras_serializable("keras_switch")`. Its fields are numbers,
    strings or other parts.
    """

    def get_config(self):
        return {
            field.name: keras.saving.serialize_keras_object(getattr(self, field.name))
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{name: _revived(value) for name, value in config.items()})


def one_of(owner, name, value, legal):
    """Raises `ValueError` if `value` is not among the `legal` ones."""
    if value not in legal:
        raise ValueError(
            f"{type(owner).__name__} got {name}={value!r}: choose one of "
            f"{', '.join(map(repr, legal))}."
        )


def at_least(owner, name, value, least):
    """Raises `ValueError` if the number `value` is below `least`."""
    if not value >= least:
        raise ValueError(
            f"{type(owner).__name__} got {name}={value!r}: give a number of at least "
            f"{least}."
        )


def _revived(value):
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    return value
