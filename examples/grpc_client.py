"""Asks a served model by gRPC; needs `pip install tensorflow-serving-api`.

python examples/grpc_client.py "A <extra_id_0> walks into a bar."

The same for `keras-switch serve` and for TF Serving.
"""

import argparse

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def main(argv=None):
    """Prints the answer to each text, and its score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--address", default="localhost:8500")
    parser.add_argument("--model", default="switch")
    args = parser.parse_args(argv)
    with grpc.insecure_channel(args.address) as channel:
        found = predict(channel, args.model, {"inputs": args.texts})
    for text, score in zip(found["outputs"], found["scores"], strict=True):
        print(f"{score:.3f}\t{text.decode()}")


def predict(channel, model, inputs, signature="serving_default"):
    """Returns the outputs of a signature, arrays by name.

    Args:
        channel: to the server.
        model: its name.
        inputs: lists or arrays by name; token ids as int32.
        signature: its name.

    Raises:
        grpc.RpcError: with the server's reason in `details()`.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request, timeout=60)
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


if __name__ == "__main__":
    main()
