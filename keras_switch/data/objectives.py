"""Three ways to learn from plain text, after T5: arXiv:1910.10683, section 3.1.

The preprocessors are T5's own, in the order of its C4 tasks. Span corruption drops 15 %
of the tokens in spans of three on average, as T5 and the Switch paper do.
"""

import functools

from keras_switch.data import environment

OBJECTIVES = ("span_corruption", "prefix_lm", "lm")


def add_text_tasks(name: str, source, vocabulary):
    """Registers `{name}_span_corruption`, `{name}_prefix_lm` and `{name}_lm`.

    Args:
        name: start of the tasks' names.
        source: `seqio.DataSource` of examples `{"text": string}`.
        vocabulary: `seqio.Vocabulary` with sentinels.
    """
    registry = environment.load("seqio").TaskRegistry
    for objective in OBJECTIVES:
        registry.add(f"{name}_{objective}", **text_task(source, vocabulary, objective))


def text_task(source, vocabulary, objective: str) -> dict:
    """Returns the arguments of a `seqio.Task` that learns from text.

    Args:
        source: `seqio.DataSource` of examples `{"text": string}`.
        vocabulary: `seqio.Vocabulary` with sentinels.
        objective: one of `OBJECTIVES`.

    Raises:
        ValueError: if there is no such objective.
    """
    seqio = environment.load("seqio")
    if objective not in OBJECTIVES:
        raise ValueError(
            f"There is no objective {objective!r} for text: take "
            f"{', '.join(map(repr, OBJECTIVES))}."
        )
    features = {"targets": seqio.Feature(vocabulary, add_eos=True)}
    if objective != "lm":
        inputs = seqio.Feature(vocabulary, add_eos=True, required=False)
        features = {"inputs": inputs, **features}
    return {
        "source": source,
        "output_features": features,
        "preprocessors": [*_tokenize(features), *_steps(objective)],
        "metric_fns": [],
    }


def _steps(objective):
    t5 = environment.load("t5.data.preprocessors")
    end = environment.load("seqio").preprocessors.append_eos_after_trim
    return {
        "span_corruption": (t5.span_corruption, end),
        "prefix_lm": (t5.prefix_lm, end),
        # full_lm ends documents itself; a piece cut out of one has no end.
        "lm": (t5.full_lm,),
    }[objective]


def _tokenize(features):
    seqio = environment.load("seqio")
    key_map = {key: "text" if key == "targets" else None for key in features}
    return (
        functools.partial(seqio.preprocessors.rekey, key_map=key_map),
        seqio.preprocessors.tokenize,
        seqio.CacheDatasetPlaceholder(),
    )
