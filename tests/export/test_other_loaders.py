"""Exported models in TensorFlow's command line and in a program without Python."""

import pathlib
import shutil
import subprocess
import sys

import helpers_export as helpers
import pytest
import tensorflow as tf

from keras_switch import export

pytestmark = pytest.mark.slow
TEXTS = ["the quick brown fox", "dog"]


@pytest.fixture(scope="module")
def model():
    return helpers.language_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "switch" / "1"
    model.export(folder, export.Serving(input_lengths=(16, 32), max_new_tokens=6))
    return folder


@pytest.fixture(scope="module")
def expected(model):
    return model.generate(TEXTS, 7, sampler="greedy")


def ran(command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_program_in_c_gets_the_same_answers(folder, expected, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, to compile a program on TensorFlow's C API")
    text = pytest.importorskip("tensorflow_text")
    home = pathlib.Path(tf.__file__).parent
    program = tmp_path / "serve"
    libraries = [home / "libtensorflow_cc.so.2", home / "libtensorflow_framework.so.2"]
    ran(
        [
            *("gcc", str(pathlib.Path(__file__).with_name("serve.c"))),
            *(f"-I{home / 'include'}", *map(str, libraries)),
            *(f"-Wl,-rpath,{home}", "-o", str(program)),
        ]
    )
    operations = pathlib.Path(text.__file__).parent / "python" / "ops"
    operations = operations / "_sentencepiece_tokenizer.so"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loader = tf.compat.v1.saved_model.loader
        signatures = loader.load(session, ["serve"], str(folder)).signature_def
    found = signatures["serving_default"]
    given, _ = found.inputs["inputs"].name.split(":")
    answer, index = found.outputs["outputs"].name.split(":")
    arguments = [str(folder), given, answer, index, str(operations), *TEXTS]
    assert ran([str(program), *arguments]).split("\n")[:-1] == expected


def test_the_command_line_of_tensorflow_shows_and_runs_it(folder, expected):
    cli = "from tensorflow.python.tools import saved_model_cli as c; c.main()"
    options = ["--dir", str(folder), "--tag_set", "serve"]
    shown = ran([sys.executable, "-c", cli, "show", *options])
    assert 'SignatureDef key: "serving_default"' in shown
    inputs = f"inputs={TEXTS!r}"
    found = ran(
        [
            *(sys.executable, "-c", f"import tensorflow_text; {cli}", "run", *options),
            *("--signature_def", "serving_default", "--input_exprs", inputs),
        ]
    )
    for answer in expected:
        assert str(answer.encode())[2:-1] in found  # it prints bytes


def test_warm_up_requests_are_those_of_tf_serving(folder):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    signatures = tf.saved_model.load(str(folder)).signatures
    file = str(folder / "assets.extra" / "tf_serving_warmup_requests")
    for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
        log = logs.PredictionLog.FromString(record)
        assert log.SerializeToString(deterministic=True) == record
        request = log.predict_log.request
        assert request.model_spec.name == "switch"
        inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        signatures[request.model_spec.signature_name](**inputs)
