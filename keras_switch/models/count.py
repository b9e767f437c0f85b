"""Exact numbers of parameters, from the layers' own shapes, without allocating them.

One block of each kind is built with weights that never get values, and counted once for
each of its places.
"""

import contextlib
import dataclasses
import math

import keras
from keras.src.backend.common import global_state

from keras_switch.layers import CrossBlock, Stack
from keras_switch.models import assembly, lora
from keras_switch.models.config import ModelConfig
from keras_switch.routing import Soft

_WAITING = "uninitialized_variables"
_GROUP = 4096  # tokens, to see what share of a group an expert takes


@dataclasses.dataclass(frozen=True)
class WeightCount:
    """One weight of a model.

    Args:
        path: its path in `SwitchBackbone`.
        shape: its shape.
        dims: the name of each axis, `None` for one that has none.
        total: its parameters.
        active: those that a token meets: of experts, only the ones it visits.
        dtype: what it is stored in.
    """

    path: str
    shape: tuple[int, ...]
    dims: tuple[str | None, ...]
    total: int
    active: int
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class Count:
    """The weights of a model.

    Args:
        weights: every weight.
    """

    weights: tuple[WeightCount, ...]

    @property
    def total(self) -> int:
        """All parameters, embeddings included."""
        return sum(weight.total for weight in self.weights)

    @property
    def active(self) -> int:
        """Parameters that one token meets, embeddings included."""
        return sum(weight.active for weight in self.weights)


def count(config: ModelConfig, dtype=None) -> Count:
    """Returns every weight of a model with its number of parameters, in an instant.

    Where experts choose, a token meets as many as their capacity in evaluation gives
    it on average.

    Args:
        config: the model's.
        dtype: dtype policy of its layers; by default the global one.
    """
    with without_values():
        embedding = assembly.token_embedding(config, dtype)
        embedding.build()
        weights = _weights(embedding, embedding.name)
        for name in config.stacks:
            weights += _stack(config, name, dtype)
    return Count(tuple(weights))


def _stack(config, name, dtype):
    """Returns the weights of a stack, from one block of each kind."""
    sparse, kinds, weights = config.sparse_layers(name), {}, []
    for i in range(config.depth(name)):
        kind = i if config.lora else i in sparse  # LoRA may be of some blocks only
        if kind not in kinds:
            kinds[kind] = i, _block(config, name, i, dtype)
        first, of_kind = kinds[kind]
        for weight in of_kind:
            path = weight.path
            # Blocks and their sparse layers have their number in their names.
            path = path.replace(f"block_{first}", f"block_{i}", 1)
            path = path.replace(f"/{name}_{first}/", f"/{name}_{i}/", 1)
            weights.append(dataclasses.replace(weight, path=path))
    return weights + _rest(config, name, dtype)


def _block(config, name, i, dtype):
    """Returns the weights of block `i`."""
    parts, visited = [assembly.block(config, name, i, dtype)], 1.0
    if config.is_sparse(i, name):
        visited = _visited(config.routing(name), config.sparse.num_experts)
        if config.sparse.extra_mlp:
            parts.append(assembly.extra_block(config, i, dtype))
    weights = []
    for part in parts:
        _build(config, part)
        if config.lora:
            lora.add(part, config.lora, f"{name}/{part.name}")
        weights += _weights(part, f"{name}/{part.name}", visited)
    return weights


def _rest(config, name, dtype):
    """Returns the weights of a stack outside its blocks."""
    one = dataclasses.replace(
        config, num_layers=1, num_decoder_layers=None, sparse=None
    )
    stack = assembly.stack(one, name, dtype)
    _build(config, stack)
    weights = _weights(stack, name)
    return [w for w in weights if not w.path.startswith(f"{name}/block_0/")]


def _build(config, layer):
    shape = (None, None, config.d_model)
    layer.build(shape, *[shape] * isinstance(layer, Stack | CrossBlock))


def _weights(layer, path, visited=1.0):
    """Returns the weights of a built layer.

    Args:
        layer: the layer.
        path: its path in the model.
        visited: share of its experts that a token visits.
    """
    found = []
    for weight in layer.weights:
        inner = weight.path.removeprefix(f"{layer.path}/")
        total = math.prod(weight.shape)
        active = round(total * visited) if "/experts/" in inner else total
        shape, dims, dtype = tuple(weight.shape), weight.dims, weight.dtype
        found.append(WeightCount(f"{path}/{inner}", shape, dims, total, active, dtype))
    return found


def _visited(policy, num_experts):
    """Returns the share of the experts that a token visits."""
    if policy.causal and not isinstance(policy, Soft):
        return min(policy.num_choices, num_experts) / num_experts
    return policy.rows(_GROUP, num_experts) / _GROUP


@contextlib.contextmanager
def without_values():
    """Makes new variables remember their shapes alone.

    Keras keeps a list of variables that were made in a stateless scope, to give them
    values when the next one ends; these are taken off it again.
    """
    waiting = list(global_state.get_global_attribute(_WAITING) or ())
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(_WAITING, waiting)
