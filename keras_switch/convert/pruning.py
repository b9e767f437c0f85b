"""Fewer experts: those that a data set uses, or mixtures of all.

Axes: E experts before, N after, D d_model.
"""

import dataclasses
import re

import keras
import numpy as np

from keras_switch.convert.derive import derived, weights_of
from keras_switch.convert.errors import refuse
from keras_switch.routing.part import Part

_WEIGHT = re.compile(r"((?:.*/)?block_\d+/\w+_\d+)/(experts|router)/(\w+)")


@dataclasses.dataclass(frozen=True)
class Method(Part):
    """How experts become fewer."""

    def mixture(self, kept, load, router):
        """Returns how much of each expert goes into each new one, `(N, E)`.

        Args:
            kept: `(N,)` int, the experts that new ones take the place of.
            load: `(E,)`, share of the tokens that each expert got.
            router: `(D, E)`, the router's kernel.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class KeepUsed(Method):
    """The experts that got most tokens stay as they are; the others go."""

    def mixture(self, kept, load, router):
        return np.eye(len(load))[kept]


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class MergeSimilar(Method):
    """Every expert that goes is mixed into the one whose tokens are most like its own.

    Alike are experts whose columns in the router point the same way; each counts by
    the tokens that it got (MC-SMoE, arXiv:2310.01334).
    """

    def mixture(self, kept, load, router):
        directions = router / (np.linalg.norm(router, axis=0) + 1e-12)
        nearest = (directions[:, kept].T @ directions).argmax(axis=0)  # (E,)
        nearest[kept] = np.arange(len(kept))
        groups = np.arange(len(kept))[:, np.newaxis] == nearest
        # An expert that got nothing counts nothing, unless its whole group got nothing.
        weights = groups * load
        empty = weights.sum(axis=1) == 0
        weights[empty] = np.eye(len(load))[kept[empty]]
        return weights / weights.sum(axis=1, keepdims=True)


def prune_experts(model, load, num_experts: int, method: Method | None = None):
    """Returns a model with fewer experts in every sparse layer.

    Each layer keeps the experts that it used most, in their old order; a router keeps
    their columns.

    Args:
        model: `SwitchSeq2SeqLM` or `SwitchCausalLM`; it stays as it is.
        load: by path of each sparse layer (`"encoder/block_1/encoder_1"`), the share of
            the tokens that each expert got, as `training.experts.expert_use` tells.
        num_experts: experts of a layer afterwards.
        method: `KeepUsed()` or `MergeSimilar()`.

    Raises:
        ConversionError: if there are not as many experts, or a layer's load is missing.
    """
    method, config = method or KeepUsed(), model.backbone.config
    refuse("The experts cannot be pruned", _mistakes(config, load, num_experts))
    weight = weights_of(model)
    kept = {
        layer: np.sort(np.argsort(-np.asarray(share), kind="stable")[:num_experts])
        for layer, share in load.items()
    }

    def value(path):
        found = _WEIGHT.fullmatch(path)
        old = weight(path)
        if found is None:
            return old
        layer = found[1]
        if found[2] == "router":
            return old[..., kept[layer]]
        router = weight(f"{layer}/router/kernel")
        mixture = method.mixture(kept[layer], np.asarray(load[layer]), router)
        new = np.tensordot(mixture, old.astype("float32"), axes=1)
        return new.astype(old.dtype)

    return derived(model, _with_experts(config, num_experts), value)


def kept_share(load, num_experts: int) -> float:
    """Returns the share of tokens, over all layers, that goes to experts that stay."""
    shares = [sum(sorted(share, reverse=True)[:num_experts]) for share in load.values()]
    return float(np.mean(shares))


def _with_experts(config, num_experts):
    sparse = config.sparse
    groups = sparse.groups
    if hasattr(groups, "num_experts"):
        groups = dataclasses.replace(groups, num_experts=num_experts)
    sparse = dataclasses.replace(sparse, num_experts=num_experts, groups=groups)
    return dataclasses.replace(config, sparse=sparse)


def _mistakes(config, load, num_experts):
    if config.sparse is None:
        yield "the model has none"
        return
    if not 1 <= num_experts <= config.sparse.num_experts:
        yield (
            f"num_experts={num_experts}: give a number from 1 to "
            f"{config.sparse.num_experts}"
        )
    needed = {
        f"{stack}/block_{i}/{stack}_{i}"
        for stack in config.stacks
        for i in config.sparse_layers(stack)
    }
    if set(load) != needed:
        yield f"the load is of the layers {sorted(load)}, not of {sorted(needed)}"
    for layer, share in load.items():
        if len(share) != config.sparse.num_experts:
            yield (
                f"the load of {layer} has {len(share)} entries for "
                f"{config.sparse.num_experts} experts"
            )
    for stack in config.stacks:
        if config.sparse_layers(stack) and not config.routing(stack).uses_router:
            yield f"{config.routing(stack)} of the {stack} has no router to prune"
