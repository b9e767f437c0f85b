"""Requests that a server runs before it says that it is ready.

`assets.extra/tf_serving_warmup_requests` is a TFRecord of `PredictionLog`, a message of
TF Serving. Its four messages are written here field by field, so that no package of TF
Serving is needed:

    PredictionLog   6: PredictLog
    PredictLog      1: PredictRequest
    PredictRequest  1: ModelSpec   2: inputs, a map of string (1) to TensorProto (2)
    ModelSpec       1: name        3: signature_name
"""

import numpy as np
import tensorflow as tf

FILE = "tf_serving_warmup_requests"


def requests(name, signatures, options) -> list[bytes]:
    """Returns a request for each signature, and for the default at each length.

    Args:
        name: of the model on the server.
        signatures: functions by name.
        options: `Serving`.
    """
    found = []
    for signature, function in sorted(signatures.items()):
        specs = tf.nest.flatten(function.structured_input_signature)
        default = signature == tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        for length in options.input_lengths[: None if default else 1]:
            inputs = {spec.name: _value(spec, 1, length) for spec in specs}
            found.append(prediction_log(name, signature, inputs))
    return found


def write(folder, records):
    """Writes requests into a folder `assets.extra`."""
    with tf.io.TFRecordWriter(str(folder / FILE)) as file:
        for record in records:
            file.write(record)


def prediction_log(name, signature, inputs) -> bytes:
    """Returns a `PredictionLog` of one request.

    Args:
        name: of the model.
        signature: its name.
        inputs: arrays by name.
    """
    spec = _field(1, name.encode()) + _field(3, signature.encode())
    request = _field(1, spec)
    for key, value in sorted(inputs.items()):
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, key.encode()) + _field(2, tensor))
    return _field(6, _field(1, request))


def _value(spec, rows, length):
    """Returns a batch of texts, or of token ids, of about so many tokens."""
    if spec.dtype == tf.string:
        return np.array(["a " * (length - 1)] * rows, object)
    return np.full((rows, length), 3, "int32")


def _field(number, value) -> bytes:
    """Returns a field of bytes in protobuf's wire format."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value) -> bytes:
    head = b""
    while value > 127:
        head += bytes([value & 127 | 128])
        value >>= 7
    return head + bytes([value])
