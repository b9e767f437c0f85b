"""From a dense model to a sparse one that begins with the same function.

Source: sparse upcycling, arXiv:2212.05055. Every expert is a copy of the dense MLP, so
that a token gets the same answer wherever it goes; with normalised gates (`TopK(k,
renormalize=True)`) and nothing dropped the whole model answers as before. With raw
gates (`Switch()`) its answers are scaled by the router's probability and it has to
recover.
"""

import dataclasses
import re

import numpy as np

from keras_switch.convert.derive import derived, weights_of
from keras_switch.convert.errors import refuse
from keras_switch.models import Sparse
from keras_switch.routing import TopK

_EXPERT = re.compile(r"(.*/block_\d+)/\w+_\d+/experts/(\w+)")
_ROUTER = re.compile(r".*/router/\w+")


def upcycle(model, sparse: Sparse | None = None):
    """Returns a sparse model made of a dense one: experts copied, routers fresh.

    Args:
        model: `SwitchSeq2SeqLM` or `SwitchCausalLM` without sparse layers.
        sparse: the sparse layers; `None`: every other layer, 8 experts, the two best of
            each token with gates that add up to 1.

    Raises:
        ConversionError: if the model is sparse already, or experts would be of another
            form than its MLPs.
    """
    sparse = sparse or Sparse(routing=TopK(2, renormalize=True))
    config = model.backbone.config
    refuse("This model cannot be upcycled", _mistakes(config, sparse))
    weight = weights_of(model)

    def value(path):
        if _ROUTER.fullmatch(path):
            return None
        expert = _EXPERT.fullmatch(path)
        if expert is None:
            return weight(path)
        dense = weight(f"{expert[1]}/mlp/{expert[2]}")
        return np.broadcast_to(dense, (sparse.num_experts, *dense.shape))

    return derived(model, dataclasses.replace(config, sparse=sparse), value)


def _mistakes(config, sparse):
    if config.sparse is not None:
        yield "it has experts already"
    if sparse.d_ff not in (None, config.d_ff):
        yield (
            f"sparse.d_ff={sparse.d_ff}: experts are copies of MLPs of width "
            f"{config.d_ff}"
        )
    if sparse.extra_mlp is not None:
        yield "sparse.extra_mlp: the dense model has no weights for it"
