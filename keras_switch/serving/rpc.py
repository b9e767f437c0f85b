"""TF Serving's PredictionService and ModelService before a model."""

import asyncio
import functools
import logging

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from keras_switch.serving import protos
from keras_switch.serving.errors import Reason, Refused


def server(model, batcher, options):
    """Returns a gRPC server of a model, not started; other methods are unimplemented.

    Args:
        model: `ServedModel`.
        batcher: `Batcher` before it.
        options: `Options`.
    """
    made = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", options.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # or two servers share a port unseen
        ]
    )
    predict = functools.partial(_predict, model, batcher)
    metadata = functools.partial(_metadata, model)
    status = functools.partial(_status, model)
    methods = {
        "PredictionService": {
            "Predict": _method(predict, predict_pb2.PredictRequest),
            "GetModelMetadata": _method(
                metadata, get_model_metadata_pb2.GetModelMetadataRequest
            ),
        },
        "ModelService": {
            "GetModelStatus": _method(
                status, get_model_status_pb2.GetModelStatusRequest
            )
        },
    }
    made.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(f"tensorflow.serving.{name}", handlers)
            for name, handlers in methods.items()
        ]
    )
    return made


async def _predict(model, batcher, request):
    question = await asyncio.to_thread(protos.read, request, model)
    outputs = await batcher.ask(question)
    return await asyncio.to_thread(protos.write, question, outputs, model)


async def _metadata(model, request):
    return protos.metadata(request, model)


async def _status(model, request):
    protos.check_model(request.model_spec, model)
    return protos.status(model)


def _method(answer, request_type):
    """Returns the handler of a method; what is refused ends with a status."""

    async def handle(request, context):
        try:
            return await answer(request)
        except Refused as refused:
            code = grpc.StatusCode[refused.reason.grpc]
            await context.abort(code, str(refused))
        except Exception:
            logging.getLogger(__name__).exception("%s", request_type.DESCRIPTOR.name)
            code = grpc.StatusCode[Reason.FAILED.grpc]
            await context.abort(code, "the server failed: see its log")

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=request_type.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
