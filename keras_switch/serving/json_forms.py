"""TF Serving's JSON: rows (`instances`) and columns (`inputs`), to arrays and back.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import json
import reprlib

import numpy as np
import tensorflow as tf

from keras_switch.serving.errors import Refused

BYTES = "_bytes"
"""Ends the names of outputs that are written as base64."""


def read(body, model):
    """Returns the `Question` of a body, and whether it is in rows.

    Args:
        body: bytes.
        model: `ServedModel`.

    Raises:
        Refused: if anything is wrong with it.
    """
    values = _parsed(body)
    signature = model.signature(_signature_name(values))
    by_row = "instances" in values
    if by_row == ("inputs" in values):
        raise Refused("the body needs one of 'instances' (rows) and 'inputs' (columns)")
    columns = (
        _columns(values["instances"], signature)
        if by_row
        else _named(values["inputs"], signature)
    )
    signature.check_names(columns)
    arrays = {name: array(c, signature.inputs[name]) for name, c in columns.items()}
    return signature.question(arrays, model.limits), by_row


def write(outputs, by_row) -> str:
    """Returns the body of an answer.

    Args:
        outputs: arrays by name, of equal numbers of rows.
        by_row: whether the question came in rows.
    """
    values = {name: _values(name, array) for name, array in outputs.items()}
    if len(values) == 1:
        (whole,) = values.values()
    elif by_row:
        rows = zip(*values.values(), strict=True)
        whole = [dict(zip(values, row, strict=True)) for row in rows]
    else:
        whole = values
    return json.dumps({"predictions" if by_row else "outputs": whole})


def array(value, spec):
    """Returns nested lists as an array of a spec's rank and dtype."""
    shape = _shape(value, len(spec.shape), spec)
    convert = text if spec.dtype == tf.string else number(spec.dtype)
    try:
        leaves = [convert(leaf) for leaf in _leaves(value, len(shape))]
        return np.array(leaves, spec.dtype.as_numpy_dtype).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise Refused(f"input {spec.name!r}: {error}") from error


def text(value) -> bytes:
    """Returns a text as UTF-8, or the bytes of a `{"b64": ...}` object."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and list(value) == ["b64"]:
        coded = value["b64"]
        if isinstance(coded, str):
            filled = coded + "=" * (-len(coded) % 4)
            return base64.b64decode(filled, validate=True)
    raise TypeError(f'{reprlib.repr(value)} is neither a text nor {{"b64": text}}')


def number(dtype):
    """Returns a function that checks a number and returns it."""
    kinds = int if dtype.is_integer else (int, float)

    def convert(value):
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise TypeError(f"{reprlib.repr(value)} is no {dtype.name}")
        if dtype.is_integer and not dtype.min <= value <= dtype.max:
            raise ValueError(f"{reprlib.repr(value)} does not fit {dtype.name}")
        return value

    return convert


def _parsed(body):
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise Refused("the body is no JSON object")
    return values


def _signature_name(values):
    name = values.get("signature_name", "")
    if not isinstance(name, str):
        raise Refused(f"signature_name {reprlib.repr(name)} is no text")
    return name


def _columns(rows, signature):
    """Returns the columns of `instances`: objects, or values of the only input."""
    if not isinstance(rows, list) or not rows:
        raise Refused("'instances' needs a list of at least one")
    if not _is_object(rows[0]):
        return {_only(signature): rows}
    for index, row in enumerate(rows):
        if not _is_object(row):
            raise Refused(f"'instances' item {index} is no object, as the first is")
        signature.check_names(row)
    return {name: [row[name] for row in rows] for name in signature.inputs}


def _named(values, signature):
    """Returns the columns of `inputs`: an object, or the value of the only input."""
    return values if _is_object(values) else {_only(signature): values}


def _only(signature):
    if len(signature.inputs) > 1:
        raise Refused(
            f"signature {signature.name!r} takes the inputs "
            f"{sorted(signature.inputs)}: name them in objects"
        )
    return next(iter(signature.inputs))


def _is_object(value):
    return isinstance(value, dict) and list(value) != ["b64"]


def _shape(value, rank, spec):
    """Returns the shape of nested lists that must be so deep."""
    if not rank:
        if isinstance(value, list):
            raise Refused(f"input {spec.name!r} is nested too deeply for {spec}")
        return ()
    if not isinstance(value, list):
        raise Refused(
            f"input {spec.name!r} has {reprlib.repr(value)} where its shape {spec} "
            "needs a list"
        )
    inner = {_shape(part, rank - 1, spec) for part in value}
    if len(inner) > 1:
        raise Refused(
            f"input {spec.name!r} has rows of different lengths: fill them up with 0"
        )
    return (len(value), *(inner.pop() if inner else (0,) * (rank - 1)))


def _leaves(value, rank):
    if rank == 1:
        return value
    return [leaf for part in value for leaf in _leaves(part, rank - 1)]


def _values(name, array):
    """Returns an array as nested lists of what JSON has."""
    if array.dtype == object:
        convert = _base64 if name.endswith(BYTES) else _decoded
        return np.vectorize(convert, otypes=[object])(array).tolist()
    if array.dtype.kind == "f":  # the shortest that is equal, as TF Serving writes it
        array = array.astype("U").astype("float64")
    return array.tolist()


def _decoded(value):
    return value.decode(errors="replace")


def _base64(value):
    return {"b64": base64.b64encode(value).decode()}
