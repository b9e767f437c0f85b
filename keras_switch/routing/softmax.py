"""Softmax over axes of any size."""

from keras import ops


def softmax(logits, axis=-1):
    """Returns `ops.softmax`; 1 without Keras's warning where the axis has one entry.

    One expert, or a group of one token, is no mistake here.
    """
    if logits.shape[axis] == 1:
        return ops.ones_like(logits)
    return ops.softmax(logits, axis=axis)
