"""The collectives that really run: read from the functions that DTensor lowered.

DTensor compiles a function on a mesh into one for every device and leaves it in the
library of the eager context. Its nodes tell the dtype and the local shape of each
message, and where it came from.
"""

import collections
import dataclasses
import math

import tensorflow as tf
from tensorflow.python.eager import context

KINDS = {
    "CollectiveReduceV2": "all-reduce",
    "CollectiveGatherV2": "all-gather",
    "CollectiveReduceScatterV2": "reduce-scatter",
    "CollectiveAllToAllV2": "all-to-all",
}


@dataclasses.dataclass(frozen=True)
class Message:
    """One collective as every device runs it.

    Args:
        kind: as `planning.Collective` calls it.
        size: devices that talk to each other.
        dtype: of what travels.
        shape: of the local result.
        name: operation of the model that it was made for.
    """

    kind: str
    size: int
    dtype: str
    shape: tuple[int, ...]
    name: str

    @property
    def bytes(self):
        """Bytes of the local tensor."""
        return math.prod(self.shape) * tf.as_dtype(self.dtype).size

    @property
    def backward(self):
        """Whether a gradient asked for it."""
        return "gradient_tape/" in self.name


def messages(call):
    """Returns the messages of all functions that `call()` compiles."""
    before = set(_functions())
    call()
    found = []
    for name in _functions():
        if name not in before:
            found += _of_function(context.context().get_function_def(name))
    return found


def counted(found):
    """Returns how many messages of each kind there are, scalars left out."""
    return dict(collections.Counter(m.kind for m in found if m.shape))


def _functions():
    return context.context().list_function_names()


def _of_function(function):
    nodes = {node.name: node for node in function.node_def}
    for node in function.node_def:
        if node.op in KINDS:
            yield Message(
                kind=_kind(node),
                size=_constant(nodes, node.input[1]),
                dtype=tf.as_dtype(node.attr["T"].type).name,
                shape=_shape(node),
                name=" ".join(node.experimental_debug_info.original_node_names),
            )


def _kind(node):
    # On CPUs a gather is lowered to a sum of parts that are zero elsewhere.
    names = node.experimental_debug_info.original_node_names
    if any(name.endswith("DTensorAllGatherOp") for name in names):
        return "all-gather"
    return KINDS[node.op]


def _shape(node):
    (shape,) = node.attr["_output_shapes"].list.shape
    return tuple(dim.size for dim in shape.dim)


def _constant(nodes, name):
    node = nodes[name.split(":")[0]]
    return int(tf.make_ndarray(node.attr["value"].tensor))
