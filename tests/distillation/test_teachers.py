import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers_distillation import batch, scored, student

from keras_switch import training
from keras_switch.distillation import DistillStep, SavedModelTeacher, as_teacher


def exported(model, folder, **outputs):
    """Writes a SavedModel with the logits of a model, and what else is asked for."""
    specs = {"token_ids": tf.TensorSpec((None, 3), tf.int64, "token_ids")}

    @tf.function(input_signature=[specs])
    def serve(inputs):
        logits = model({k: tf.cast(v, tf.int32) for k, v in inputs.items()})
        return {"logits": logits, **{k: f(logits) for k, f in outputs.items()}}

    module = tf.Module()
    module.model, module.serve = model, serve
    tf.saved_model.save(module, str(folder), {"serving_default": serve})
    return str(folder)


def test_a_saved_model_teaches_as_the_model_it_was_made_of(tmp_path):
    who = student(1)
    path = exported(who, tmp_path, best=lambda x: tf.argmax(x, -1))
    inputs, targets, weights = batch()
    logits = SavedModelTeacher(path)(inputs)
    np.testing.assert_allclose(logits, np.asarray(who(inputs)), atol=1e-5)
    optimizer, loss = keras.optimizers.SGD(0.1), training.TokenCrossEntropy()
    metrics = DistillStep(student(), optimizer, loss, path)((inputs, targets, weights))
    assert float(metrics["soft_loss"]) > 0


def test_what_a_saved_model_lacks_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no saved_model\.pb"):
        as_teacher(tmp_path)
    path = exported(scored(9), tmp_path, more=lambda x: x + 1)
    with pytest.raises(ValueError, match=r"no signature 'score'.*'serving_default'"):
        SavedModelTeacher(path, "score")
    inputs, *_ = batch()
    with pytest.raises(ValueError, match=r"'more'.*say which output is logits"):
        SavedModelTeacher(path)(inputs)
    with pytest.raises(ValueError, match="batches have no token_ids"):
        SavedModelTeacher(path, output="logits")({"other": inputs["token_ids"]})
    with pytest.raises(ValueError, match="scores 9 words and the student 7"):
        SavedModelTeacher(path, output="logits").check(student())


def test_other_tokenizers_are_refused():
    class Part:
        def __init__(self, **parts):
            vars(self).update(parts)

    one, other = student(), student()
    one.preprocessor = Part(tokenizer=Part(proto=b"one"))
    as_teacher(one).check(other)  # nothing is known of the student's
    other.preprocessor = Part(tokenizer=Part(proto=b"two"))
    with pytest.raises(ValueError, match="tokenizers of teacher and student"):
        as_teacher(one).check(other)
