"""What TensorFlow's own graph of a model does: products of matrices, tensors kept."""

import math

import helpers_models
import tensorflow as tf

from keras_switch import models

_ALIASES = {"Reshape", "Identity", "ExpandDims", "Squeeze", "StopGradient"}
_OF_WEIGHTS = {*_ALIASES, "Cast", "Transpose"}
_NOT_ACTIVATIONS = {"ReadVariableOp", "Const", "Placeholder"}


def model(config, dtype="float32"):
    """Returns the model of a config, with logits if it has a decoder."""
    classes = {
        "encoder-decoder": models.SwitchSeq2SeqLM,
        "decoder-only": models.SwitchCausalLM,
    }
    backbone = models.SwitchBackbone(config, dtype=dtype)
    wrap = classes.get(config.architecture)
    return wrap(backbone) if wrap else backbone


def lengths(config, length=12, targets=8):
    """Returns the lengths of `helpers_models.inputs`, by feature."""
    if config.architecture == "encoder-decoder":
        return {"inputs": length, "targets": targets}
    return {"inputs": length, "targets": length}


def forward_graph(config, **sizes):
    """Returns the graph of a forward pass in training."""
    net = model(config)
    inputs = helpers_models.inputs(config, **sizes)
    call = tf.function(lambda: net(inputs, training=True))
    return call.get_concrete_function().graph


def matmul_flops(graph):
    """Returns the multiplications and additions of all products in a graph."""
    return sum(_flops(op) for op in graph.get_operations())


def _flops(op):
    if op.type == "Einsum":
        equation = op.get_attr("equation").decode()
        terms = equation.split("->")[0].split(",")
        sizes = {}
        for term, tensor in zip(terms, op.inputs, strict=True):
            sizes |= zip(term, tensor.shape, strict=True)
        return 2 * math.prod(sizes.values()) if len(terms) == 2 else 0
    if op.type not in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        return 0
    transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    summed = op.inputs[0].shape[-2 if transposed else -1]
    return 2 * math.prod(op.outputs[0].shape) * summed


def kept_bytes(config, dtype="float32", **sizes):
    """Returns the bytes of activations that the backward pass reads.

    Each buffer counts once; weights, casts of weights and integers do not.
    """
    net, boundary = model(config, dtype), []
    inputs = helpers_models.inputs(config, **sizes)

    def step():
        with tf.GradientTape() as tape:
            logits = net(inputs, training=True)
            targets = tf.ones(logits.shape[:2], "int32")
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_mean(loss) + sum(net.losses)
        graph = tf.compat.v1.get_default_graph()
        boundary.append(len(graph.get_operations()))
        return tape.gradient(loss, [v.value for v in net.trainable_variables])

    operations = tf.function(step).get_concrete_function().graph.get_operations()
    forward = set(operations[: boundary[-1]])
    found = {}
    for op in operations[boundary[-1] :]:
        for tensor in op.inputs:
            if tensor.op in forward and tensor.dtype.is_floating:
                source = _source(tensor, _ALIASES)
                if _source(source, _OF_WEIGHTS).op.type not in _NOT_ACTIVATIONS:
                    found[source.name] = math.prod(source.shape) * source.dtype.size
    return found


def _source(tensor, through):
    """Returns the tensor whose buffer this one shares, or is made from."""
    while tensor.op.type in through:
        tensor = tensor.op.inputs[0]
    return tensor
