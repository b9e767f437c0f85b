"""The sparse layer with weights of its own, and what it must answer, token by token."""

import keras
import numpy as np
from helpers_dispatch import numpy

from keras_switch.dispatch import (
    DroplessDispatch,
    EinsumDispatch,
    GatherDispatch,
)
from keras_switch.layers import SwitchFeedForward

B, L, D, E, F = 3, 8, 4, 4, 6

FORMS = [EinsumDispatch(), GatherDispatch(), DroplessDispatch()]


def make(seed=0, **kwargs):
    """Returns a layer whose router has opinions, built."""
    layer = SwitchFeedForward(**{"num_experts": E, "d_ff": F, **kwargs})
    layer.build((None, L, D))
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.standard_normal(weight.shape))
    return layer


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def token_by_token(layer, x, mask, capacity):
    """Returns what a Switch layer gives: each sequence's tokens served in turn."""
    weights = {w.name: numpy(w.value) for w in layer.weights}
    y = np.zeros_like(x)
    for b in range(x.shape[0]):
        served = [0] * E
        for i in range(x.shape[1]):
            p = softmax(x[b, i] @ weights["kernel"])
            e = int(p.argmax())
            if (mask is None or mask[b, i]) and served[e] < capacity:
                hidden = np.maximum(x[b, i] @ weights["wi"][e], 0)
                y[b, i] = p[e] * (hidden @ weights["wo"][e])
                served[e] += 1
    return y


def model_of(layer, length=L):
    return keras.Sequential([keras.Input((length, D)), layer, keras.layers.Dense(2)])


def fitted(model, x, jit_compile=False, **kwargs):
    y = np.random.default_rng(5).standard_normal((len(x), L, 2))
    model.compile("sgd", "mse", jit_compile=jit_compile)
    history = model.fit(x, y, batch_size=2, verbose=0, **kwargs).history
    return {name: values[-1] for name, values in history.items()}
