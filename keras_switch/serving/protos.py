"""TF Serving's messages to arrays and back."""

import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from keras_switch.serving.errors import Refused

SIGNATURES = "signature_def"
"""The only field of metadata that there is."""


def read(request, model):
    """Returns the `Question` of a `PredictRequest`.

    Raises:
        Refused: if anything is wrong with it.
    """
    check_model(request.model_spec, model)
    signature = model.signature(request.model_spec.signature_name)
    signature.check_names(request.inputs)
    arrays = {
        name: array(tensor, signature.inputs[name], model.limits)
        for name, tensor in request.inputs.items()
    }
    return signature.question(arrays, model.limits, request.output_filter)


def write(question, outputs, model):
    """Returns the `PredictResponse` to a question."""
    answer = predict_pb2.PredictResponse()
    _name(answer.model_spec, model)
    answer.model_spec.signature_name = question.signature
    for name, value in outputs.items():
        answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    return answer


def array(tensor, spec, limits):
    """Returns a `TensorProto` as an array of a spec's rank and dtype.

    Its shape is checked first: one value stands for as many as the shape says.
    """
    if tensor.dtype != spec.dtype.as_datatype_enum:
        kinds = types_pb2.DataType.DESCRIPTOR.values_by_number
        kind = kinds[tensor.dtype].name if tensor.dtype in kinds else tensor.dtype
        raise Refused(f"input {spec.name!r} is {kind}, but needs {spec.dtype.name}")
    spec.check(tuple(dim.size for dim in tensor.tensor_shape.dim), limits)
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError, IndexError) as error:
        raise Refused(f"input {spec.name!r}: {error}") from error


def check_model(spec, model):
    """Raises `Refused` unless a `ModelSpec` means the model that is served."""
    if spec.version_label:
        raise Refused(f"no version has the label {spec.version_label!r}: give a number")
    version = spec.version.value if spec.HasField("version") else None
    model.check(spec.name, version)


def status(model):
    """Returns the `GetModelStatusResponse` of a model."""
    answer = get_model_status_pb2.GetModelStatusResponse()
    state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    answer.model_version_status.add(version=model.version, state=state)
    answer.model_version_status[0].status.SetInParent()
    return answer


def metadata(request, model):
    """Returns the `GetModelMetadataResponse` to a request.

    Raises:
        Refused: if it asks for other fields than the signatures.
    """
    check_model(request.model_spec, model)
    if set(request.metadata_field) != {SIGNATURES}:
        asked = list(request.metadata_field)
        raise Refused(f"metadata_field is {asked}: ask for ['{SIGNATURES}']")
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    _name(answer.model_spec, model)
    answer.metadata[SIGNATURES].Pack(model.definitions)
    return answer


def metadata_as_json(model):
    """Returns what REST says in place of `metadata`."""
    spec = predict_pb2.PredictRequest().model_spec
    _name(spec, model)
    signatures = as_json(model.definitions)
    return {"model_spec": as_json(spec), "metadata": {SIGNATURES: signatures}}


def as_json(message):
    """Returns a message as TF Serving writes it in JSON, as a dictionary."""
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def _name(spec, model):
    spec.name = model.name
    spec.version.value = model.version
