"""Activations by name, as the original implementations mean them."""

import keras


@keras.saving.register_keras_serializable("keras_switch")
def gelu(x):
    """Returns the tanh approximation of GELU: T5 v1.1's, `gelu_new` elsewhere."""
    return keras.activations.gelu(x, approximate=True)


def get(activation):
    """Returns the function that `activation` names.

    Args:
        activation: a name that `keras.activations.get` takes, or a function. `"gelu"`
            is the tanh approximation, as in Mesh TensorFlow, T5X and T5 v1.1; the exact
            one is the function `keras.activations.gelu`.
    """
    return gelu if activation == "gelu" else keras.activations.get(activation)
