"""Tiny models and data for the tests of training."""

import keras
import numpy as np
import tensorflow as tf

from keras_switch.layers import SwitchFeedForward

V, D, L = 7, 4, 3


def dense_model(dtype=None, dropout=0.0):
    """Returns a language model of one matrix, `token_ids (B, L) -> (B, L, V)`."""
    ids = keras.Input((L,), dtype="int32", name="token_ids")
    x = keras.layers.Embedding(V, D, dtype=dtype)(ids)
    x = keras.layers.Dropout(dropout)(x)
    return keras.Model({"token_ids": ids}, keras.layers.Dense(V, dtype=dtype)(x))


def sparse_model(layers=2, **options):
    """Returns the same with sparse layers, which jitter their routers' inputs."""
    ids = keras.Input((L,), dtype="int32", name="token_ids")
    x = keras.layers.Embedding(V, D)(ids)
    for _ in range(layers):
        x = x + SwitchFeedForward(2, 8, **options)(x)
    return keras.Model({"token_ids": ids}, keras.layers.Dense(V)(x))


def batch(size=4, seed=0):
    """Returns inputs, targets and weights, some of them 0."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, V, (size, L)).astype("int32")
    targets = rng.integers(0, V, (size, L)).astype("int32")
    weights = (rng.uniform(size=(size, L)) < 0.7).astype("float32")
    return {"token_ids": ids}, targets, weights


def dataset(batches=5, repeat=True, shuffle=True, size=4):
    """Returns batches in an order that depends on a seed."""
    data = tf.data.Dataset.from_tensor_slices(batch(size * batches))
    if shuffle:
        data = data.shuffle(8, seed=1)
    data = data.repeat() if repeat else data
    return data.batch(size, drop_remainder=True)
