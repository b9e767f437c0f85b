"""Small teachers and students that score the same words."""

import functools

import keras
import numpy as np
from helpers_models import TINY_SPARSE, tiny
from helpers_training import V, batch, dataset, dense_model, sparse_model  # noqa: F401

from keras_switch import models

DENSE, SPARSE = tiny(sparse=None), tiny(sparse=TINY_SPARSE)
T = 3  # targets of a row


def student(seed=2, **options):
    """Returns a model of one matrix; equal seeds, equal models."""
    keras.utils.set_random_seed(seed)
    return dense_model(**options)


def teacher(seed=1):
    """Returns a model with one sparse layer."""
    keras.utils.set_random_seed(seed)
    return sparse_model(layers=1)


@functools.cache
def scored(number):
    """Returns a teacher of another number of words."""
    ids = keras.Input((T,), dtype="int32", name="token_ids")
    return keras.Model({"token_ids": ids}, keras.layers.Embedding(V, number)(ids))


def lm(config, seed=0):
    keras.utils.set_random_seed(seed)
    return models.SwitchSeq2SeqLM(models.SwitchBackbone(config))


def log_softmax(x):
    x = x.astype("float64")
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))
