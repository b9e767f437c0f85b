"""A served export by both protocols: right answers, wrong requests, the end."""

import ast
import concurrent.futures
import copy
import gzip
import itertools
import json
import pathlib
import re
import runpy
import subprocess
import sys
import threading
import time

import grpc
import helpers_export
import helpers_serving as helpers
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

import keras_switch
from keras_switch import export, serving
from keras_switch.serving.model import newest
from keras_switch.serving.server import NOTICE

ROOM = pathlib.Path(keras_switch.__file__).parent / "serving"
EXAMPLES = ROOM.parent.parent / "examples"
PATH = "/v1/models/switch"
WORDS = " ".join(helpers_export.TEXT).split()
TEXTS = [" ".join(WORDS[: n % 13]) for n in range(0, 60, 5)]
IDS = [[*range(5, 5 + n % 7), 1] for n in range(12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "switch"
    model = helpers_export.language_model(num_layers=1, sparse=None)
    model.export(
        folder / "3",
        export.Serving(input_lengths=(4, 16), max_new_tokens=4, max_batch_size=6),
    )
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return serving.ServedModel(folder)


@pytest.fixture(scope="module")
def loop():
    loop = helpers.Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def server(loop, model):
    with loop.served(model, max_body_bytes=5000) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def alone(model):
    """Returns a function of a signature and inputs: what the model says by itself."""
    signatures = model._loaded.signatures

    def ask(signature, **inputs):
        found = signatures[signature](**{k: tf.constant(v) for k, v in inputs.items()})
        return {name: value.numpy() for name, value in found.items()}

    return ask


def message(signature="", name="switch", version=None, outputs=(), **inputs):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for key, value in inputs.items():
        if not isinstance(value, tensor_pb2.TensorProto):
            value = tf.make_tensor_proto(value)
        request.inputs[key].CopyFrom(value)
    return request


def waiting(server):
    return sum(map(len, server.batcher._waiting.values()))


def arrays(answer):
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


def test_the_newest_version_is_found(tmp_path):
    for name in ("1", "2", "10", "12", "draft", "11x"):
        (tmp_path / "m" / name).mkdir(parents=True)
        if name != "12":
            (tmp_path / "m" / name / "saved_model.pb").touch()
    assert newest(tmp_path / "m").name == "10"
    assert newest(tmp_path / "m" / "2").name == "2"
    for nothing in (tmp_path, tmp_path / "no", tmp_path / "m" / "12"):
        with pytest.raises(ValueError, match="no exported model"):
            newest(nothing)


def test_an_export_without_limits_or_a_place_without_text_is_told(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").touch()
    with pytest.raises(ValueError, match=r"no assets.extra/limits.json.*export the"):
        serving.ServedModel(tmp_path / "m")
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(ImportError, match="pip install tensorflow-text"):
        serving.ServedModel(folder)


def test_the_warm_up_of_an_export_is_run(model):
    asked, told = copy.copy(model), []
    asked.run = lambda *question: told.append(question)
    assert asked.warm_up() == len(told) == 5 + 2
    shapes = {(name, *(a.shape for a in inputs.values())) for name, inputs in told}
    assert ("generate", (1, 4)) in shapes and ("serving_default", (1,)) in shapes
    assert {name for name, *_ in shapes} == set(model.definitions.signature_def) - {
        "__saved_model_init_op"
    }
    texts = [a["inputs"].tolist() for name, a in told if name == "serving_default"]
    assert texts == [[b"a " * 3], [b"a " * 15]]


def test_texts_are_answered_in_rows_and_columns_as_the_model_does(server, alone):
    port, texts = server.rest_port, TEXTS[:3]
    wanted = alone("serving_default", inputs=texts)
    status, found = helpers.fetch(port, f"{PATH}:predict", {"instances": texts})
    assert status == 200
    for row, text, score in zip(
        found["predictions"], wanted["outputs"], wanted["scores"], strict=True
    ):
        assert row["outputs"] == text.decode()
        assert row["scores"] == pytest.approx(float(score), abs=1e-5)
    status, columns = helpers.fetch(
        port, f"{PATH}/versions/3:predict", {"inputs": {"inputs": texts}}
    )
    assert status == 200
    outputs = [row["outputs"] for row in found["predictions"]]
    assert columns["outputs"]["outputs"] == outputs
    coded = {"instances": [{"b64": "dGhlIHF1aWNr"}]}  # the quick
    plain = {"instances": [{"inputs": "the quick"}]}
    ask = [helpers.fetch(port, f"{PATH}:predict", body) for body in (coded, plain)]
    assert ask[0] == ask[1]


def test_other_signatures_get_the_shapes_that_the_model_gives(server, stub, alone):
    ids = [[5, 6, 7, 8, 1]]
    body = {"signature_name": "encode", "instances": ids}
    _, found = helpers.fetch(server.rest_port, f"{PATH}:predict", body)
    wanted = alone("encode", encoder_token_ids=ids)["encodings"]
    assert wanted.shape == (1, 16, 16)
    np.testing.assert_allclose(found["predictions"], wanted, rtol=1e-5, atol=1e-6)
    answer = arrays(stub.Predict(message("encode", encoder_token_ids=ids)))
    np.testing.assert_allclose(answer["encodings"], wanted, rtol=1e-5, atol=1e-6)
    rows = [{"encoder_token_ids": row, "target_token_ids": [9, 1]} for row in ids]
    body = {"signature_name": "score", "instances": rows}
    _, found = helpers.fetch(server.rest_port, f"{PATH}:predict", body)
    wanted = alone("score", encoder_token_ids=ids, target_token_ids=[[9, 1]])["scores"]
    np.testing.assert_allclose(found["predictions"], wanted, rtol=1e-4)


def test_grpc_gives_all_outputs_or_those_that_are_asked_for(stub, alone):
    wanted = alone("serving_default", inputs=TEXTS[:2])
    answer = stub.Predict(message(inputs=TEXTS[:2]))
    assert arrays(answer)["outputs"].tolist() == wanted["outputs"].tolist()
    np.testing.assert_allclose(arrays(answer)["scores"], wanted["scores"], atol=1e-5)
    spec = answer.model_spec
    assert (spec.name, spec.version.value) == ("switch", 3)
    assert spec.signature_name == "serving_default"
    some = stub.Predict(message(version=3, outputs=["scores"], inputs=TEXTS[:2]))
    assert list(some.outputs) == ["scores"]


class Held:
    """A model that answers when it is let."""

    def __init__(self, model):
        self.model = copy.copy(model)
        self.started, self.go_on = threading.Event(), threading.Event()
        self.model.run = self.run

    def run(self, signature, inputs):
        self.started.set()
        assert self.go_on.wait(60)
        return type(self.model).run(self.model, signature, inputs)


def test_hundreds_at_once_get_the_answers_that_they_would_get_alone(loop, model, alone):
    generated = {len(i): alone("generate", encoder_token_ids=[i]) for i in IDS}
    written = [alone("serving_default", inputs=[text]) for text in TEXTS]
    held = Held(model)

    def by_rest(i):
        body = {"instances": [TEXTS[i % 12]]}
        status, found = helpers.fetch(server.rest_port, f"{PATH}:predict", body)
        (row,) = found["predictions"]
        assert status == 200
        return row["outputs"], row["scores"], written[i % 12]

    def by_grpc(i):
        ids = IDS[i % 12]
        found = arrays(stub.Predict(message("generate", encoder_token_ids=[ids])))
        wanted = generated[len(ids)]
        assert found["output_ids"].tolist() == wanted["output_ids"].tolist()
        return None, found["scores"][0], wanted

    with (
        concurrent.futures.ThreadPoolExecutor(200) as pool,
        loop.served(held.model) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        asked = [pool.submit((by_rest, by_grpc)[i % 2], i) for i in range(200)]
        while waiting(server) < 180:
            assert not any(one.done() for one in asked)
            time.sleep(0.01)
        held.go_on.set()
        for one in asked:
            text, score, wanted = one.result()
            assert text is None or text == wanted["outputs"][0].decode()
            assert score == pytest.approx(float(wanted["scores"][0]), abs=1e-5)
        assert server.batcher.answered == 200
        assert server.batcher.batches <= 180 / 6 + 20 + 3  # of at most six


def test_status_and_metadata_are_those_of_tf_serving(server, stub, folder):
    state = {"version": "3", "state": "AVAILABLE"}
    state["status"] = {"error_code": "OK", "error_message": ""}
    for path in (PATH, f"{PATH}/versions/3"):
        status, found = helpers.fetch(server.rest_port, path)
        assert (status, found) == (200, {"model_version_status": [state]})
    _, found = helpers.fetch(server.rest_port, f"{PATH}/metadata")
    assert found["model_spec"]["name"] == "switch"
    assert found["model_spec"]["version"] == "3"
    definitions = found["metadata"]["signature_def"]["signature_def"]
    given = definitions["serving_default"]["inputs"]["inputs"]
    assert given["dtype"] == "DT_STRING"
    assert [dim["size"] for dim in given["tensor_shape"]["dim"]] == ["-1"]

    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "switch"
    request.metadata_field.append("signature_def")
    answer = stub.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) >= {"serving_default", "generate", "score"}
    request.metadata_field.append("graph")
    with pytest.raises(grpc.RpcError, match="ask for"):
        stub.GetModelMetadata(request)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        service = model_service_pb2_grpc.ModelServiceStub(channel)
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "switch"
        (version,) = service.GetModelStatus(request).model_version_status
        assert version.version == 3 and version.state == version.AVAILABLE
        request.model_spec.version.value = 4
        with pytest.raises(grpc.RpcError, match="no version 4"):
            service.GetModelStatus(request)


GOOD = {"instances": ["the quick brown fox"]}
WRONG_REST = [
    ("/v1/models/other:predict", GOOD, 404, "this server has 'switch'"),
    ("/v1/models/..%2F..%2Fetc%2Fpasswd:predict", GOOD, 404, "there is no model"),
    (f"{PATH}/versions/4:predict", GOOD, 404, "no version 4: 3 is served"),
    (f"{PATH}/versions/{'9' * 40}:predict", GOOD, 404, "no version 999"),
    (f"{PATH}/versions/x:predict", GOOD, 400, "Malformed request: POST"),
    (f"{PATH}:classify", GOOD, 400, "Malformed request: POST"),
    (f"{PATH}:predict", None, 400, "Malformed request: GET"),
    ("/v1/models/other", None, 404, "there is no model 'other'"),
    (f"{PATH}/versions/4/metadata", None, 404, "no version 4"),
    ("/", None, 404, "Malformed request"),
    (f"{PATH}:predict", b"{", 400, "the body is no JSON"),
    (f"{PATH}:predict", {"instances": [[1]]}, 400, "nested too deeply"),
    (f"{PATH}:predict", {"instances": ["a"] * 7}, 400, "7 rows: give 1 to 6"),
    (f"{PATH}:predict", {"signature_name": "no"}, 400, "['encode', 'generate'"),
    (f"{PATH}:predict", {"inputs": {"x": ["a"]}}, 400, "inputs ['inputs'], but"),
    (f"{PATH}:predict", b" " * 6000, 413, "5000 exceeded"),
    (
        f"{PATH}:predict",
        {"signature_name": "generate", "instances": [[5, 10**6]]},
        *(400, "is not in [0, "),
    ),
]


@pytest.mark.parametrize(("path", "body", "status", "reason"), WRONG_REST)
def test_a_wrong_request_by_rest_is_told_why(path, body, status, reason, server):
    found, answer = helpers.fetch(server.rest_port, path, body)
    assert found == status and list(answer) == ["error"]
    assert reason in answer["error"]


def test_a_body_that_swells_when_it_is_unpacked_is_refused(server):
    path, headers = f"{PATH}:predict", {"Content-Encoding": "gzip"}
    fine = gzip.compress(json.dumps(GOOD).encode())
    assert helpers.fetch(server.rest_port, path, fine, headers)[0] == 200
    bomb = gzip.compress(b" " * 3_000_000)
    assert len(bomb) < 5000
    assert helpers.fetch(server.rest_port, path, bomb, headers)[0] == 413


def vast():
    """Returns a few bytes that stand for 4 gigabytes."""
    tensor = tf.make_tensor_proto([[5]], dtype="int32")
    tensor.tensor_shape.dim[1].size = 2**30
    return tensor


def broken():
    tensor = tf.make_tensor_proto([[5, 6, 7]], dtype="int32")
    tensor.tensor_content = b"12345"
    return tensor


NAMELESS = tf.make_tensor_proto(["a"])
NAMELESS.tensor_shape.dim[0].size = -1
WRONG_GRPC = [
    (message(name="other", inputs=["a"]), "NOT_FOUND", "this server has 'switch'"),
    (message(version=4, inputs=["a"]), "NOT_FOUND", "no version 4"),
    (message("no", inputs=["a"]), "FAILED_PRECONDITION", "no signature 'no'"),
    (message(), "INVALID_ARGUMENT", "takes the inputs ['inputs'], but got []"),
    (message(inputs=[1]), "INVALID_ARGUMENT", "is DT_INT32, but needs string"),
    (message(inputs=[["a"]]), "INVALID_ARGUMENT", "has 2 axes, but needs 1"),
    (message(inputs=["a"] * 7), "INVALID_ARGUMENT", "7 rows: give 1 to 6"),
    (message(inputs=NAMELESS), "INVALID_ARGUMENT", "-1 rows"),
    (message(inputs=["a"], outputs=["x"]), "INVALID_ARGUMENT", "not ['x']"),
    (message("encode", encoder_token_ids=vast()), "INVALID_ARGUMENT", "at most 16"),
    (message("encode", encoder_token_ids=broken()), "INVALID_ARGUMENT", "'encoder_"),
    (message(inputs=["a" * 6000]), "RESOURCE_EXHAUSTED", "larger than max"),
]


@pytest.mark.parametrize(("request_", "code", "reason"), WRONG_GRPC)
def test_a_wrong_request_by_grpc_is_told_why(request_, code, reason, stub):
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request_)
    assert error.value.code() == grpc.StatusCode[code]
    assert reason in error.value.details()


def test_other_methods_and_labels_are_refused(stub):
    with pytest.raises(grpc.RpcError) as error:
        stub.Classify(classification_pb2.ClassificationRequest())
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
    request = message(inputs=["a"])
    request.model_spec.version_label = "stable"
    with pytest.raises(grpc.RpcError, match="label 'stable'"):
        stub.Predict(request)


def test_a_full_queue_is_told_and_requests_under_way_are_answered_at_the_end(
    loop, model
):
    held = Held(model)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        with loop.served(held.model, max_queue=1) as server:
            channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            ask = (server.rest_port, f"{PATH}:predict", GOOD)
            first = pool.submit(helpers.fetch, *ask)
            assert held.started.wait(60)
            second = pool.submit(stub.Predict, message(inputs=GOOD["instances"]))
            while not waiting(server):
                assert not second.done()
                time.sleep(0.01)
            status, answer = helpers.fetch(*ask)
            assert status == 503 and "1 requests are waiting" in answer["error"]
            with pytest.raises(grpc.RpcError) as error:
                stub.Predict(message(inputs=["a"]))
            assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            # The model answers only when the server has begun to stop.
            threading.Timer(0.2, held.go_on.set).start()
            assert not first.done() and not second.done()
        assert first.result()[0] == 200
        assert len(second.result().outputs) == 2
        channel.close()


def test_a_fault_of_the_model_is_told_without_its_inside(loop, model, caplog):
    broken = copy.copy(model)
    broken.run = lambda signature, inputs: 1 / 0
    with loop.served(broken) as server:
        status, answer = helpers.fetch(server.rest_port, f"{PATH}:predict", GOOD)
    assert status == 500 and answer == {"error": "the server failed: see its log"}
    assert "ZeroDivisionError" in caplog.text


def test_a_port_that_is_taken_is_told(loop, model, server):
    for options in ({"rest_port": server.rest_port}, {"grpc_port": server.grpc_port}):
        told = r"address already in use|give another --grpc_port"
        with pytest.raises(OSError, match=told), loop.served(model, **options):
            pass


def test_the_clients_of_the_examples_get_answers(server, alone, capsys):
    wanted = [t.decode() for t in alone("serving_default", inputs=TEXTS[:2])["outputs"]]
    url = f"http://127.0.0.1:{server.rest_port}{PATH}"
    address = f"127.0.0.1:{server.grpc_port}"
    for name, where in (("rest", f"--url={url}"), ("grpc", f"--address={address}")):
        client = runpy.run_path(str(EXAMPLES / f"{name}_client.py"))
        client["main"]([where, *TEXTS[:2]])
        lines = capsys.readouterr().out.split("\n")[:-1]
        assert [line.split("\t")[1] for line in lines] == wanted
    rest = runpy.run_path(str(EXAMPLES / "rest_client.py"))
    with pytest.raises(ValueError, match="there is no signature 'no'"):
        rest["predict"](url, ["a"], "no")


def test_no_request_opens_a_file_or_a_pickle(server, stub):
    opened = []

    def watch(event, arguments):
        if watching and event in ("open", "pickle.find_class", "os.listdir"):
            opened.append((event, arguments))

    watching = False
    sys.addaudithook(watch)
    for again in (False, True):  # what is imported when first used is there then
        watching = again
        for path, body, *_ in WRONG_REST:
            helpers.fetch(server.rest_port, path, body)
        helpers.fetch(server.rest_port, f"{PATH}:predict", GOOD)
        for request, *_ in WRONG_GRPC:
            with pytest.raises(grpc.RpcError):
                stub.Predict(request)
    watching = False
    assert opened == []


def test_the_room_needs_tensorflow_but_no_other_room_and_no_keras():
    for file in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                modules = [node.module]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            for module in modules:
                first, *rest = module.split(".")
                assert first not in ("keras", "keras_hub", "pickle"), file
                assert first != "keras_switch" or rest[0] == "serving", file


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_stop(folder, alone, tmp_path):
    ports = ["--rest_port=0", "--grpc_port=0"]
    words = ["serve", f"--model={folder / '3'}", "--name=mine", *ports]
    log = tmp_path / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "keras_switch", *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    lines = iter(process.stdout.readline, "")
    said = "".join(itertools.takewhile(lambda line: NOTICE not in line, lines))
    port = int(re.search(r"REST +http://127.0.0.1:(\d+)/v1/models/mine\n", said)[1])
    wanted = alone("serving_default", inputs=GOOD["instances"])["outputs"][0].decode()

    def ask(_):
        try:
            return helpers.fetch(port, "/v1/models/mine:predict", GOOD)
        except OSError:  # no longer taken
            return None

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(ask, i) for i in range(200)]
        concurrent.futures.wait(asked, return_when="FIRST_COMPLETED")
        process.terminate()
        answers = [one.result() for one in asked]
    assert process.wait(60) == 0
    taken = [answer for answer in answers if answer is not None]
    assert len(taken) >= 1 and len(taken) < 200
    for status, found in taken:
        assert status == 200
        assert found["predictions"][0]["outputs"] == wanted
    rest = process.stdout.read()
    process.stdout.close()
    assert f"Answered {len(taken):,} requests" in rest
    assert "Traceback" not in log.read_text()
