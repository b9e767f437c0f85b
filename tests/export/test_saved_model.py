"""Exported models: in this process, in others without this library, and refused."""

import json
import subprocess
import sys

import helpers_export as helpers
import numpy as np
import pytest
import tensorflow as tf

from keras_switch import export, models
from keras_switch.distillation import SavedModelTeacher

TEXTS = ["the quick brown fox", "", "a lazy dog sleeps all day long", "dog"]
OPTIONS = export.Serving(input_lengths=(8, 32), max_new_tokens=6)


@pytest.fixture(scope="module")
def model():
    return helpers.language_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "switch" / "1"
    written = model.export(folder, OPTIONS)
    assert written.folder == folder
    return folder


@pytest.fixture(scope="module")
def served(folder):
    return tf.saved_model.load(str(folder)).signatures


@pytest.fixture(scope="module")
def expected(model):
    """Returns the texts and scores of `generate`, one by one."""
    found = [
        model.generate(text, 7, sampler="greedy", max_new_tokens=6, return_scores=True)
        for text in TEXTS
    ]
    texts, scores = zip(*found, strict=True)
    assert len(set(texts)) > 2
    return list(texts), np.array(scores)


def test_text_in_text_and_scores_out_whatever_the_batch(served, expected):
    texts, scores = expected
    for rows in (1, 3, 4, 4 * 3):
        found = served["serving_default"](inputs=tf.constant((TEXTS * 3)[:rows]))
        assert [t.decode() for t in found["outputs"].numpy()] == (texts * 3)[:rows]
        wanted = np.tile(scores, 3)[:rows]
        np.testing.assert_allclose(found["scores"], wanted, atol=1e-5)


def test_the_score_of_an_answer_is_what_generation_told(served, model):
    ids = np.array([[5, 6, 7, 1, 0], [9, 1, 0, 0, 0]], "int32")
    answer = served["generate"](encoder_token_ids=tf.constant(ids))
    score = served["score"](
        encoder_token_ids=tf.constant(ids), target_token_ids=answer["output_ids"]
    )
    np.testing.assert_allclose(score["scores"], answer["scores"], atol=1e-5)
    assert answer["output_ids"].dtype == tf.int32
    encodings = served["encode"](encoder_token_ids=tf.constant(ids))["encodings"]
    assert encodings.dtype == tf.float32 and encodings.shape == (2, 8, 16)
    wanted = model.backbone.encode(ids, (ids > 0).astype("int32"))
    np.testing.assert_allclose(encodings[0, :4], np.asarray(wanted)[0, :4], atol=1e-4)


def test_an_export_teaches_as_the_model_does_and_keeps_packed_examples_apart(
    folder, model
):
    ids = np.array([[5, 6, 1, 9, 1, 0], [9, 8, 7, 6, 1, 0]], "int32")
    segments = np.array([[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 1, 0]], "int32")
    targets = np.array([[0, 7, 0, 8], [0, 5, 6, 7]], "int64")  # cast as is needed
    inputs = {
        "encoder_token_ids": ids,
        "encoder_padding_mask": segments,
        "decoder_token_ids": targets,
        "decoder_padding_mask": np.array([[1, 1, 2, 2], [1, 1, 1, 1]], "int32"),
    }
    logits = SavedModelTeacher(folder)(inputs).numpy()
    wanted = model({name: value.astype("int32") for name, value in inputs.items()})
    np.testing.assert_allclose(logits, wanted, atol=1e-5)
    other = inputs | {"encoder_token_ids": ids + (segments == 2)}
    changed = np.abs(SavedModelTeacher(folder)(other).numpy() - logits).max((0, 2))
    assert (changed[:2] == 0).all() and (changed[2:] > 1e-3).all()


def test_text_is_scored_as_its_ids_are(served, model):
    tokenizer = model.preprocessor.tokenizer
    ids, target = (
        np.array([[*tokenizer(text), 1]], "int32") for text in (TEXTS[0], "dog")
    )
    assert target.shape[1] <= OPTIONS.max_new_tokens
    wanted = served["score"](encoder_token_ids=ids, target_token_ids=target)
    found = served["score_text"](
        inputs=tf.constant(TEXTS[:1]), targets=tf.constant(["dog"])
    )
    np.testing.assert_allclose(found["scores"], wanted["scores"], atol=1e-4)


def test_long_text_is_cut_and_long_ids_are_refused(served):
    words = tf.constant(["dog " * n for n in (40, 80)])
    first, second = served["serving_default"](inputs=words)["outputs"].numpy()
    assert first == second
    with pytest.raises(tf.errors.InvalidArgumentError, match="longer than 32 tokens"):
        served["generate"](encoder_token_ids=tf.ones((1, 33), tf.int32))


ALONE = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text
folder, texts = sys.argv[1], json.loads(sys.argv[2])
f = tf.saved_model.load(folder).signatures["serving_default"]
found = f(inputs=tf.constant(texts))
with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
    meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
    signature = meta.signature_def["serving_default"]
    outputs = {k: v.name for k, v in signature.outputs.items()}
    again = session.run(outputs, {signature.inputs["inputs"].name: texts})
    functions = meta.graph_def.library.function
    ops = {n.op for f in functions for n in f.node_def}
    ops |= {n.op for n in meta.graph_def.node}
print(json.dumps({
    "texts": [t.decode() for t in found["outputs"].numpy()],
    "scores": found["scores"].numpy().tolist(),
    "session": [t.decode() for t in again["outputs"]],
    "session_scores": again["scores"].tolist(),
    "signatures": sorted(meta.signature_def),
    "ops": sorted(ops),
    "others": [m for m in ("keras_switch", "keras_hub", "seqio") if m in sys.modules],
}))
"""


def test_a_process_with_tensorflow_alone_answers_by_both_loaders(folder, expected):
    command = [sys.executable, "-c", ALONE, str(folder), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    texts, scores = expected
    assert found["others"] == []
    assert found["texts"] == found["session"] == texts
    np.testing.assert_allclose(found["scores"], scores, atol=1e-5)
    np.testing.assert_allclose(found["session_scores"], scores, atol=1e-5)
    names = {"serving_default", "score_text", "generate", "score", "encode", "logits"}
    assert names < set(found["signatures"])
    # Not in stock servers, or not on their GPUs; nor may a request change anything.
    ops = set(found["ops"])
    assert not [op for op in ops if "Xla" in op or "PyFunc" in op]
    changes = {op for op in ops if op.startswith("Assign")}
    assert changes <= {"AssignVariableOp"}  # of loading
    text = {op for op in ops if "Sentence" in op}
    assert text == {"SentencepieceOp", "SentencepieceTokenizeOp"} | {
        "SentencepieceDetokenizeOp"
    }


def test_what_a_server_wants_lies_beside_the_model(folder):
    extra = folder / "assets.extra"
    read_me = (extra / "README.md").read_text()
    assert "docker run" in read_me and '"$PWD/switch:/models/switch"' in read_me
    assert 'base_path: "/models/switch"' in (extra / "models.config").read_text()
    assert "max_batch_size { value: 32 }" in (extra / "batching.config").read_text()
    file = str(extra / "tf_serving_warmup_requests")
    requests = [*tf.data.TFRecordDataset(file).as_numpy_iterator()]
    assert len(requests) == 5 + 2


def test_a_version_is_never_written_over_and_an_error_leaves_nothing(
    model, folder, tmp_path, monkeypatch
):
    with pytest.raises(ValueError, match="is there already"):
        model.export(folder)
    with pytest.raises(ValueError, match=r"'.*/switch' is no number: give NAME/1"):
        model.export(folder.parent)
    module = "keras_switch.export.saved_model"
    monkeypatch.setattr(f"{module}.signatures", lambda *args: ({}, tf.Module()))
    monkeypatch.setattr(f"{module}.tf.saved_model.save", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export.write(model, tmp_path / "m" / "2", OPTIONS)
    assert not [*(tmp_path / "m").iterdir()]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_lengths": (16, 8)}, r"input_lengths=\(16, 8\).*greater"),
        ({"max_new_tokens": 0}, "max_new_tokens=0: give at least 1"),
        ({"min_new_tokens": 65}, "min_new_tokens=65.*max_new_tokens=64"),
    ],
)
def test_options_without_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        export.Serving(**wrong)


def test_a_sampler_without_scores_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"BeamSampler.*models\.BeamSearch"):
        model.export(tmp_path / "m" / "1", export.Serving(sampler="beam"))


@pytest.mark.slow
def test_beams_of_a_bfloat16_decoder_without_a_tokenizer_are_served(tmp_path):
    model = helpers.decoder("mixed_bfloat16")
    options = export.Serving(models.BeamSearch(3), (4, 8), 5, warm_up=False)
    written = model.export(tmp_path / "lm" / "7", options)
    served = tf.saved_model.load(str(written.folder)).signatures
    ids = np.array([[7, 8, 9], [5, 0, 0]], "int32")
    found = served["serving_default"](token_ids=tf.constant(ids))
    for row, length in enumerate((3, 1)):
        prompt = np.zeros((1, 12), "int32")
        prompt[0, 1 : 1 + length] = ids[row, :length]
        mask = (np.arange(12) < 1 + length).astype("int32")[np.newaxis]
        wanted, score = model.generate(
            {"token_ids": prompt, "padding_mask": mask},
            stop_token_ids=(1,),
            sampler=options.sampler,
            max_new_tokens=5,
            return_scores=True,
        )
        new = wanted["token_ids"][0, 1 + length :][:5]
        np.testing.assert_array_equal(found["output_ids"][row], new)
        np.testing.assert_allclose(found["scores"][row], score[0], atol=1e-5)
    scored = served["score"](
        token_ids=tf.constant(ids), target_token_ids=found["output_ids"]
    )["scores"]
    lengths = np.count_nonzero(found["output_ids"], axis=-1)
    np.testing.assert_allclose(scored / lengths, found["scores"], atol=0.05)
    assert served["encode"](token_ids=tf.constant(ids))["encodings"].dtype == tf.float32
    assert not (written.folder / "assets.extra/tf_serving_warmup_requests").exists()
