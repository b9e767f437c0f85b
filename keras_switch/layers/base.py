"""The base class of this library's layers."""

import inspect

import keras

from keras_switch.partitioning import laid_out


class Layer(keras.layers.Layer):
    """A Keras layer whose weights name their dimensions and whose config writes itself.

    A subclass keeps every constructor argument in an attribute of the same name; the
    config is read back from there, so the two cannot drift apart.

    Raises:
        ValueError: under the policy `float16`, whose weights are too coarse to train.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.variable_dtype == "float16":
            raise ValueError(
                f"{self.name!r} got the dtype policy 'float16': weights kept in "
                "float16 lose small updates and overflow. Use 'mixed_float16' (float32 "
                "weights, loss scaling) or, better, 'mixed_bfloat16' or 'bfloat16'."
            )
        self.supports_masking = True

    def add_param(self, name, shape, dims, initializer, **kwargs):
        """Adds a trainable weight with one logical dimension name per axis.

        Args:
            name: name of the weight.
            shape: its shape, all sizes known.
            dims: the name of each axis (`"d_model"`, `"experts"`, ...), or `None` for
                an axis that is never split. Kept on the weight as `weight.dims`; on a
                `Mesh` they say how it is split.
            initializer: anything `keras.initializers.get` takes.
            **kwargs: further arguments of `keras.layers.Layer.add_weight`.

        Raises:
            ValueError: if `dims` and `shape` differ in length.
        """
        if len(dims) != len(shape):
            raise ValueError(
                f"Weight {name!r} of {self.name!r} has shape {tuple(shape)} but dims "
                f"{tuple(dims)}: give one name, or None, per axis."
            )
        initializer = laid_out(keras.initializers.get(initializer), dims)
        weight = self.add_weight(
            name=name, shape=shape, initializer=initializer, **kwargs
        )
        weight.dims = tuple(dims)
        return weight

    def compute_mask(self, inputs, previous_mask=None):
        # Keras also takes an attention mask for one of tokens, and would multiply
        # losses and metrics by it.
        if len(getattr(previous_mask, "shape", ())) > 2:
            return None
        return previous_mask

    def get_config(self):
        config = super().get_config()
        for name in inspect.signature(type(self).__init__).parameters:
            if name not in ("self", "kwargs", *config):
                value = getattr(self, name)
                config[name] = keras.saving.serialize_keras_object(value)
        return config

    @classmethod
    def from_config(cls, config):
        return cls(**{name: _revived(value) for name, value in config.items()})


def _revived(value):
    """Returns the object that `serialize_keras_object` turned into `value`."""
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    if isinstance(value, list):
        return [_revived(item) for item in value]
    return value
