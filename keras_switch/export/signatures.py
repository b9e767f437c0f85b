"""The named functions of an exported model.

Axes: B batch, L and T lengths, P padded length, D d_model.
"""

import tensorflow as tf

from keras_switch.export.answers import DecoderAnswers, EncoderDecoderAnswers
from keras_switch.export.text import Text

IDS = tf.TensorSpec((None, None), tf.int32)
TEXTS = tf.TensorSpec((None,), tf.string)
DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def signatures(model, options):
    """Returns the signatures of a model, and a module of all that they read.

    Args:
        model: language model, not on a mesh; with a preprocessor there are signatures
            of text.
        options: `Serving`.

    Returns:
        Concrete functions by name, and a `tf.Module`.
    """
    two = len(model.backbone.config.stacks) == 2
    answers = (EncoderDecoderAnswers if two else DecoderAnswers)(model, options)
    made, found = tf.Module(), _of_ids(answers)
    if model.preprocessor is None:
        found[DEFAULT] = found["generate"]
    else:
        text = Text(model.preprocessor.tokenizer)
        made.tokenizer = text.pieces
        found |= _of_text(answers, text, ends=two)
    traced = {name: f.get_concrete_function() for name, f in found.items()}
    graphs = [function.graph for function in traced.values()]
    made.weights = [*{id(v): v for g in graphs for v in g.variables}.values()]
    return traced, made


def _of_ids(answers):
    """Returns the functions of token ids, `(B, L)` int32, by name."""

    def generate(ids):
        answer, scores = answers.generate(ids)
        return {"output_ids": answer, "scores": scores}

    def score(ids, target_token_ids):
        return {"scores": answers.score(ids, target_token_ids)}

    def encode(ids):
        return {"encodings": answers.encode(ids)}

    def logits(*values):
        return {"logits": answers.logits(*values)}

    targets = {"target_token_ids": IDS}
    return {
        "generate": _named(generate, {answers.name: IDS}),
        "score": _named(score, {answers.name: IDS, **targets}),
        "encode": _named(encode, {answers.name: IDS}),
        "logits": _named(logits, dict.fromkeys(answers.inputs, IDS)),
    }


def _of_text(answers, text, ends):
    """Returns the functions of texts, `(B,)` string, by name."""
    longest, most = answers.options.input_lengths[-1], answers.options.max_new_tokens

    def serve(inputs):
        answer, scores = answers.generate(text.ids(inputs, longest, ends))
        return {"outputs": text.texts(answer), "scores": scores}

    def score_text(inputs, targets):
        targets = text.ids(targets, most, True)
        scores = answers.score(text.ids(inputs, longest, ends), targets)
        return {"scores": scores}

    return {
        DEFAULT: _named(serve, {"inputs": TEXTS}),
        "score_text": _named(score_text, {"inputs": TEXTS, "targets": TEXTS}),
    }


def _named(function, specs):
    """Returns a graph of `function` whose arguments have the names of `specs`."""
    specs = [
        tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()
    ]
    return tf.function(function, input_signature=specs, autograph=False)
