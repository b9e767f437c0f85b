"""Bodies of TF Serving's REST API, right and wrong, without a model."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_switch.serving import json_forms
from keras_switch.serving.errors import Reason, Refused
from keras_switch.serving.tensors import Limits, Signature, Spec

IDS = Spec("ids", tf.int32, (None, None))
TARGETS = Spec("targets", tf.int32, (None, None))
TEXTS = Spec("texts", tf.string, (None,))
POINTS = Spec("points", tf.float32, (None, 2))


def signature(name, *specs):
    return Signature(name, {spec.name: spec for spec in specs}, ("a", "b"))


SIGNATURES = {
    "": signature("serving_default", TEXTS),
    "ids": signature("ids", IDS),
    "both": signature("both", IDS, TARGETS),
    "points": signature("points", POINTS),
}


def found(name):
    if name not in SIGNATURES:
        raise Refused(f"no {name}", Reason.NO_SIGNATURE)
    return SIGNATURES[name]


MODEL = types.SimpleNamespace(signature=found, limits=Limits(3, (4, 8)))


def read(**values):
    return json_forms.read(json.dumps(values).encode(), MODEL)


def test_rows_and_columns_of_one_input_need_no_name():
    for key, by_row in (("instances", True), ("inputs", False)):
        question, rows = read(**{key: ["a", "b\u00e9", {"b64": "AP8"}]})
        assert rows is by_row
        assert question.signature == "serving_default" and question.rows == 3
        assert question.inputs["texts"].tolist() == [b"a", b"b\xc3\xa9", b"\x00\xff"]
        assert question.outputs == ("a", "b")


def test_rows_and_columns_of_several_inputs_are_objects_and_padded():
    rows = [{"ids": [1, 2], "targets": [3]}, {"targets": [6], "ids": [4, 5]}]
    columns = {"ids": [[1, 2], [4, 5]], "targets": [[3], [6]]}
    first, _ = read(signature_name="both", instances=rows)
    second, _ = read(signature_name="both", inputs=columns)
    for question in (first, second):
        assert question.inputs["ids"].tolist() == [[1, 2, 0, 0], [4, 5, 0, 0]]
        assert question.inputs["targets"].tolist() == [[3, 0, 0, 0], [6, 0, 0, 0]]
        assert question.inputs["ids"].dtype == np.int32
    assert first.kind == second.kind == ("both", ((4,), (4,)))
    longer, _ = read(signature_name="ids", inputs=[[1] * 5])
    assert longer.inputs["ids"].shape == (1, 8)


def test_numbers_with_a_point_are_taken_where_the_signature_has_them():
    question, _ = read(signature_name="points", instances=[[1, 2.5]])
    assert question.inputs["points"].tolist() == [[1.0, 2.5]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "one of 'instances' (rows) and 'inputs' (columns)"),
        ({"instances": ["a"], "inputs": ["a"]}, "one of 'instances'"),
        ({"instances": []}, "at least one"),
        ({"instances": "a"}, "needs a list"),
        ({"inputs": []}, "'texts' has 0 rows: give 1 to 3"),
        ({"inputs": "a"}, "'a' where its shape (?) needs a list"),
        ({"instances": ["a"] * 4}, "'texts' has 4 rows: give 1 to 3"),
        ({"instances": [["a"]]}, "nested too deeply for (?)"),
        ({"instances": [1]}, "1 is neither a text nor"),
        ({"instances": [None]}, "None is neither a text nor"),
        ({"instances": [{"b64": "?"}]}, "'texts': "),
        ({"instances": [{"b64": 1}]}, "neither a text nor"),
        ({"instances": ["\ud800"]}, "surrogates not allowed"),
        ({"instances": [{"text": "a"}]}, "inputs ['texts'], but got ['text']"),
        ({"inputs": {"texts": ["a"], "more": 1}}, "got ['more', 'texts']"),
        ({"instances": [{"texts": "a"}, "b"]}, "item 1 is no object"),
        ({"signature_name": "no", "inputs": 1}, "no no"),
        ({"signature_name": 7, "inputs": 1}, "signature_name 7 is no text"),
        ({"signature_name": "both", "instances": [[1]]}, "name them in objects"),
        ({"signature_name": "both", "inputs": [[1]]}, "name them in objects"),
        ({"signature_name": "ids", "inputs": [1]}, "needs a list"),
        ({"signature_name": "ids", "inputs": [[1], [2, 3]]}, "different lengths"),
        ({"signature_name": "ids", "inputs": [[1.5]]}, "1.5 is no int32"),
        ({"signature_name": "ids", "inputs": [[True]]}, "True is no int32"),
        ({"signature_name": "ids", "inputs": [["1"]]}, "'1' is no int32"),
        ({"signature_name": "ids", "inputs": [[2**31]]}, "does not fit int32"),
        ({"signature_name": "ids", "inputs": [[1] * 9]}, "9 tokens long: at most 8"),
        ({"signature_name": "points", "inputs": [[1]]}, "shape (1, 1), not (?, 2)"),
        ({"signature_name": "points", "inputs": [[1, 10**400]]}, "'points': "),
    ],
)
def test_a_wrong_body_is_told_what_is_wrong(values, message):
    with pytest.raises(Refused) as refused:
        read(**values)
    assert message in str(refused.value)
    assert refused.value.reason.http == 400


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b"1" * 5000, b"null"]
)
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(Refused, match="the body is no JSON"):
        json_forms.read(body, MODEL)


def test_inputs_need_equally_many_rows():
    columns = {"ids": [[1], [2]], "targets": [[3]]}
    with pytest.raises(Refused, match=r"inputs have \[1, 2\] rows"):
        read(signature_name="both", inputs=columns)


def test_answers_are_written_in_rows_or_columns():
    outputs = {
        "raw_bytes": np.array([b"\x00\xff", b""], object),
        "scores": np.array([0.1, -2], "float32"),
        "texts": np.array([b"a", b"\xff"], object),
    }
    rows = json.loads(json_forms.write(outputs, by_row=True))["predictions"]
    assert rows == [
        {"raw_bytes": {"b64": "AP8="}, "scores": 0.1, "texts": "a"},
        {"raw_bytes": {"b64": ""}, "scores": -2.0, "texts": "\ufffd"},
    ]
    columns = json.loads(json_forms.write(outputs, by_row=False))["outputs"]
    assert columns["scores"] == [0.1, -2.0]
    one = {"ids": np.array([[1, 2], [3, 0]], "int32")}
    assert json.loads(json_forms.write(one, True)) == {"predictions": [[1, 2], [3, 0]]}
    assert json.loads(json_forms.write(one, False)) == {"outputs": [[1, 2], [3, 0]]}
