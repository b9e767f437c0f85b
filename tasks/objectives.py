"""Three ways to learn from plain text, after T5: arXiv:1910.10683, section 3.1.

The preprocessors are T5's own, in the order of its C4 tasks.
"""

import functools

from keras_switch.data import environment

seqio = environment.load("seqio")
t5 = environment.load("t5.data.preprocessors")


def add_text_tasks(name: str, source, vocabulary):
    """Registers `{name}_span_corruption`, `{name}_prefix_lm` and `{name}_lm`.

    Args:
        name: start of the tasks' names.
        source: `seqio.DataSource` of examples `{"text": string}`.
        vocabulary: `seqio.Vocabulary` with sentinels.
    """
    pieces = seqio.Feature(vocabulary, add_eos=True)
    pairs = {
        "inputs": seqio.Feature(vocabulary, add_eos=True, required=False),
        "targets": pieces,
    }
    end = seqio.preprocessors.append_eos_after_trim
    objectives = {
        "span_corruption": (pairs, (t5.span_corruption, end)),
        "prefix_lm": (pairs, (t5.prefix_lm, end)),
        # full_lm ends documents itself; a piece cut out of one has no end.
        "lm": ({"targets": pieces}, (t5.full_lm,)),
    }
    for objective, (features, preprocessors) in objectives.items():
        seqio.TaskRegistry.add(
            f"{name}_{objective}",
            source=source,
            output_features=features,
            preprocessors=[*_tokenize(features), *preprocessors],
            metric_fns=[],
        )


def _tokenize(features):
    key_map = {key: "text" if key == "targets" else None for key in features}
    return (
        functools.partial(seqio.preprocessors.rekey, key_map=key_map),
        seqio.preprocessors.tokenize,
        seqio.CacheDatasetPlaceholder(),
    )
