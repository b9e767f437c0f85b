"""Models that train on a mesh: `keras.Model` and `keras.Sequential`, and no more."""

import keras

from keras_switch.partitioning.trainer import MeshTrainer


@keras.saving.register_keras_serializable("keras_switch")
class FunctionalModel(MeshTrainer, keras.Model):
    """What `Model(inputs, outputs)` returns."""


@keras.saving.register_keras_serializable("keras_switch")
class Sequential(MeshTrainer, keras.Sequential):
    """`keras.Sequential` that trains on the mesh on which it was made."""


class Model(MeshTrainer, keras.Model):
    """`keras.Model` that trains on the mesh on which it was made.

    Made of inputs and outputs, or subclassed, like `keras.Model`; without a mesh there
    is no difference.

    Example:
    ```python
    with ks.Mesh("data:4,model:2", layout_rules="batch:data,d_ff:model"):
        inputs = keras.Input((16, 64))
        outputs = ks.layers.FeedForward(256)(inputs)
        model = ks.Model(inputs, outputs)
        model.compile("adam", "mse")
    model.fit(x, y)
    ```
    """

    def __new__(cls, *args, **kwargs):
        # Keras turns the bases of a class that is given inputs and outputs into
        # `Functional`: not of this one, of which others are subclasses.
        functional = len(args) >= 2 or {"inputs", "outputs"} <= {*kwargs, *_first(args)}
        if cls is Model and functional:
            return FunctionalModel(*args, **kwargs)
        return super().__new__(cls, *args, **kwargs)


def _first(args):
    return ("inputs",) if args else ()
