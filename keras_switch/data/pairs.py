"""From an input text to a target text: the tasks that a model is fine-tuned on."""

from keras_switch.data import environment


def add_pairs(
    name: str, source, preprocessors, vocabulary, metrics=(), postprocess=None
):
    """Registers the task `name`; see `pairs`."""
    environment.load("seqio").TaskRegistry.add(
        name, **pairs(source, preprocessors, vocabulary, metrics, postprocess)
    )


def pairs(source, preprocessors, vocabulary, metrics=(), postprocess=None) -> dict:
    """Returns the arguments of a `seqio.Task` of pairs of texts.

    Inputs and targets become tokens, are cut to the room there is, and end with an end
    token, as in T5.

    Args:
        source: `seqio.DataSource`.
        preprocessors: functions of datasets; the last gives examples with the strings
            `inputs` and `targets`.
        vocabulary: `seqio.Vocabulary`.
        metrics: functions of targets and predictions, or of targets and scores.
        postprocess: function of a decoded text, `example` and `is_target`; gives what
            the metrics take.
    """
    seqio = environment.load("seqio")
    feature = seqio.Feature(vocabulary, add_eos=True)
    return {
        "source": source,
        "output_features": {"inputs": feature, "targets": feature},
        "preprocessors": [
            *preprocessors,
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        "metric_fns": list(metrics),
        "postprocess_fn": postprocess,
    }
