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


def kept_bytes(call):
    """Returns the bytes on one device of what the backward pass of a step reads.

    Each buffer counts once; weights, casts of weights and integers do not.

    Args:
        call: makes a step and with it one large function.
    """
    before = set(_functions())
    call()
    functions = [
        context.context().get_function_def(name)
        for name in _functions()
        if name not in before and not name.startswith("__inference")
    ]
    return _Kept(max(functions, key=lambda f: len(f.node_def))).bytes()


class _Kept:
    """The tensors between the forward and the backward part of a lowered function."""

    ALIASES = "Reshape", "Identity", "ExpandDims", "Squeeze", "StopGradient"
    OF_WEIGHTS = *ALIASES, "Cast", "Transpose"
    NOT_ACTIVATIONS = "ReadVariableOp", "Const", "Placeholder"

    def __init__(self, function):
        self._nodes = {node.name: node for node in function.node_def}
        self._inputs = {
            name: [i for i in node.input if _producer(i) in self._nodes]
            for name, node in self._nodes.items()
        }

    def bytes(self):
        backward, found = self._backward(), {}
        for name in backward:
            for tensor in self._inputs[name]:
                if _producer(tensor) not in backward:
                    source = self._source(tensor, self.ALIASES)
                    found[source] = self._bytes_of(source)
        return sum(found.values())

    def _backward(self):
        """Returns the nodes that a gradient asked for, and all after them."""
        users = collections.defaultdict(list)
        for name, inputs in self._inputs.items():
            for tensor in inputs:
                users[_producer(tensor)].append(name)
        found, next_ = set(), [n for n in self._nodes if "gradient_tape/" in n]
        while next_:
            name = next_.pop()
            if name not in found:
                found.add(name)
                next_ += users[name]
        return found

    def _bytes_of(self, tensor):
        weight = _producer(self._source(tensor, self.OF_WEIGHTS))
        of_weight = weight not in self._nodes
        if of_weight or self._nodes[weight].op in self.NOT_ACTIVATIONS:
            return 0
        node = self._nodes[_producer(tensor)]
        dtype = tf.as_dtype(node.attr["DstT" if node.op == "Cast" else "T"].type or 1)
        shape = node.attr["_output_shapes"].list.shape[int(tensor.split(":")[-1])]
        size = math.prod(dim.size for dim in shape.dim)
        return size * dtype.size if dtype.is_floating else 0

    def _source(self, tensor, through):
        """Returns the tensor whose buffer this one shares, or is made from."""
        while getattr(self._nodes.get(_producer(tensor)), "op", None) in through:
            tensor = self._nodes[_producer(tensor)].input[0]
        return tensor


def _producer(tensor):
    return tensor.split(":")[0]


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
