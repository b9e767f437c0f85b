"""Examples of the paper's tasks: rows in the source's schema, and what t5 writes.

Texts are those of t5's documentation and unit tests where it has the task.
"""

import dataclasses

import pytest


@dataclasses.dataclass(frozen=True)
class Case:
    """A task, the rows of its source, and the pairs that they become."""

    task: str
    source: str
    rows: list
    pairs: list
    split: str = "validation"
    source_split: str | None = None


def _two(task, source, columns, written, labels, split="validation", **more):
    """Returns a case of two rows of classes 0 and 1."""
    rows = [{**columns, "label": i, "idx": i, **more} for i in (0, 1)]
    return Case(task, source, rows, [(written, label) for label in labels], split)


_TWO_SENTENCES = {"sentence1": "How so?", "sentence2": "Why not?"}
_PREMISE = {"premise": "A man eats.", "hypothesis": "Someone eats."}
_ENTAILMENT = ("entailment", "not_entailment")
_YES_NO = ("False", "True")
_THREE = ("entailment", "neutral", "contradiction")


def _nli(task, split="validation", source=None):
    rows = [{**_PREMISE, "label": i, "idx": i} for i in range(3)]
    text = "mnli hypothesis: Someone eats. premise: A man eats."
    return Case(
        task,
        source or f"{task.replace('_', '/', 1)}:1.0.0",
        rows,
        [(text, x) for x in _THREE],
        split,
    )


GLUE = [
    _two(
        "glue_cola",
        "glue/cola:1.0.0",
        {"sentence": "The cat sat."},
        "cola sentence: The cat sat.",
        ("unacceptable", "acceptable"),
    ),
    _two(
        "glue_sst2",
        "glue/sst2:1.0.0",
        {"sentence": "a fine film"},
        "sst2 sentence: a fine film",
        ("negative", "positive"),
    ),
    _two(
        "glue_mrpc",
        "glue/mrpc:1.0.0",
        _TWO_SENTENCES,
        "mrpc sentence1: How so? sentence2: Why not?",
        ("not_equivalent", "equivalent"),
    ),
    _two(
        "glue_qqp",
        "glue/qqp:1.0.0",
        {"question1": "Why do I easily get bored of my friends?", "question2": "Why?"},
        "qqp question1: Why do I easily get bored of my friends? question2: Why?",
        ("not_duplicate", "duplicate"),
    ),
    Case(
        "glue_stsb",
        "glue/stsb:1.0.0",
        [
            {"sentence1": "Big news.", "sentence2": "No idea.", "label": x, "idx": i}
            for i, x in enumerate((2.8, 1.66))
        ],
        [("stsb sentence1: Big news. sentence2: No idea.", x) for x in ("2.8", "1.6")],
    ),
    _nli("glue_mnli", "validation_matched"),
    _nli("glue_mnli_matched", source="glue/mnli_matched:1.0.0"),
    _nli("glue_mnli_mismatched", source="glue/mnli_mismatched:1.0.0"),
    _nli("glue_ax", "test"),
    _two(
        "glue_qnli",
        "glue/qnli:1.0.0",
        {"question": "Who sat?", "sentence": "The cat sat."},
        "qnli question: Who sat? sentence: The cat sat.",
        _ENTAILMENT,
    ),
    _two(
        "glue_rte",
        "glue/rte:1.0.0",
        _TWO_SENTENCES,
        "rte sentence1: How so? sentence2: Why not?",
        _ENTAILMENT,
    ),
    _two(
        "glue_wnli",
        "glue/wnli:1.0.0",
        _TWO_SENTENCES,
        "wnli sentence1: How so? sentence2: Why not?",
        _ENTAILMENT[::-1],
    ),
]

_WSC = {
    "text": "Mitchell asked Tom if he could lend some money.",
    "span1_text": "Tom",
    "span1_index": 2,
    "span2_text": "he",
    "span2_index": 4,
}
_WSC_PAIR = ("wsc: Mitchell asked Tom if *he* could lend some money.", "Tom")

SUPER_GLUE = [
    _two(
        "super_glue_boolq",
        "super_glue/boolq:1.0.2",
        {"question": "is it so", "passage": "It is so."},
        "boolq passage: It is so. question: is it so",
        _YES_NO,
    ),
    Case(
        "super_glue_cb",
        "super_glue/cb:1.0.2",
        [{**_PREMISE, "label": i, "idx": i} for i in range(3)],
        [
            ("cb hypothesis: Someone eats. premise: A man eats.", label)
            for label in ("entailment", "contradiction", "neutral")
        ],
    ),
    _two(
        "super_glue_copa",
        "super_glue/copa:1.0.2",
        {
            **{"premise": "It rained.", "question": "effect"},
            **{"choice1": "It was wet.", "choice2": "It was dry."},
        },
        "copa choice1: It was wet. choice2: It was dry. premise: It rained. "
        "question: effect",
        ("choice1", "choice2"),
    ),
    Case(
        "super_glue_multirc",
        "super_glue/multirc:1.0.2",
        [
            {
                "paragraph": "<b>Sent 1: </b>Once upon a time.<br><b>Sent 2: </b>End.",
                **{"question": "Why?", "answer": "There was only pie to eat"},
                **{"label": i, "idx": {"paragraph": 5, "question": 1, "answer": i}},
            }
            for i in (0, 1)
        ],
        [
            (
                "multirc question: Why? answer: There was only pie to eat paragraph: "
                "Sent 1: Once upon a time. Sent 2: End.",
                label,
            )
            for label in _YES_NO
        ],
    ),
    Case(
        "super_glue_record",
        "super_glue/record:1.0.2",
        [
            {
                "query": "It was @placeholder.",
                "entities": ["Ann", "Bob", "Cid"],
                "passage": "This is the passage\n@highlight\nAnother sentence.",
                "answers": ["Ann", "Cid"],
                "idx": {"passage": 1, "query": 2},
            }
        ],
        [
            (
                "record query: It was @placeholder. entities: Ann, Bob, Cid passage: "
                "This is the passage. Another sentence.",
                answer,
            )
            for answer in ("Ann", "Cid")
        ],
    ),
    _two(
        "super_glue_rte",
        "super_glue/rte:1.0.2",
        _PREMISE,
        "rte hypothesis: Someone eats. premise: A man eats.",
        _ENTAILMENT,
    ),
    _two(
        "super_glue_wic",
        "super_glue/wic:1.0.2",
        {"sentence1": "You feel.", "sentence2": "She felt small.", "word": "feel"},
        "wic sentence1: You feel. sentence2: She felt small. word: feel",
        _YES_NO,
        **{"start1": 4, "end1": 8, "start2": 4, "end2": 8},
    ),
    _two(
        "super_glue_axb",
        "super_glue/axb:1.0.2",
        _TWO_SENTENCES,
        "rte hypothesis: Why not? premise: How so?",
        _ENTAILMENT,
        "test",
    ),
    _two(
        "super_glue_axg",
        "super_glue/axg:1.0.2",
        _PREMISE,
        "rte hypothesis: Someone eats. premise: A man eats.",
        _ENTAILMENT,
        "test",
    ),
    Case(
        "super_glue_wsc_train",
        "super_glue/wsc.fixed:1.0.2",
        [{**_WSC, "label": i, "idx": i} for i in (0, 1)],
        [_WSC_PAIR],  # the true referent alone
        "train",
    ),
    Case(
        "super_glue_wsc_eval",
        "super_glue/wsc.fixed:1.0.2",
        [{**_WSC, "label": 1, "idx": 1}],
        [_WSC_PAIR],
    ),
    Case(
        "dpr",
        "definite_pronoun_resolution:1.1.0",
        [
            {
                "sentence": "Mitchell asked Tom if he could lend some money.",
                "pronoun": "he",
                "candidates": ["Mitchell", "Tom"],
                "label": 1,
            }
        ],
        [_WSC_PAIR],
        "test",
    ),
]

_ARC_ROW = {
    "id": "a",
    "question": "What is hot?",
    "choices": [{"text": t, "label": i} for i, t in enumerate(("ice", "fire", "snow"))],
    "answerKey": 1,
}
_ARC_TEXT = "arc question: What is hot? choices: (A) ice (B) fire (C) snow"
_WINOGRANDE_TEXT = (
    "winogrande: The trophy did not fit because the _ was big. option1: trophy "
    "option2: case"
)
_WINOGRANDE = [
    {
        "sentence": "The trophy did not fit because the _ was big.",
        **{"option1": "trophy", "option2": "case", "label": i},
    }
    for i in (0, 1)
]
_CAT = {"question": "who sat on the mat"}

OTHERS = [
    Case(
        "squad",
        "squad/v1.1:3.0.0",
        [
            {
                **{"id": "a", "title": "t", "context": "Some context."},
                "question": "A question?",
                "answers": [
                    {"text": "The answer.", "answer_start": 0},
                    {"text": "Another answer.", "answer_start": 5},
                ],
            }
        ],
        [("question: A question ? context: Some context . ", "The answer . ")],
    ),
    Case(
        "cnn_dailymail",
        "cnn_dailymail:3.4.0",
        [
            {
                **{"article": "An article.", "highlights": "A summary."},
                **{"id": "a", "publisher": "CNN"},
            }
        ],
        [("summarize: An article.", "A summary.")],
    ),
    Case(
        "xsum",
        "xsum:1.1.0",
        [{"document": "It rained hard in the town.", "summary": "Rain fell."}],
        [("summarize: It rained hard in the town.", "Rain fell.")],
    ),
    Case(
        "anli_r3",
        "anli/r3:0.1.0",
        [
            {
                **{"uid": str(i), "context": "A man eats.", "label": i},
                "hypothesis": "Someone eats.",
            }
            for i in range(3)
        ],
        [
            ("anli_r3 hypothesis: Someone eats. context: A man eats.", label)
            for label in _THREE
        ],
    ),
    Case("arc_easy", "ai2_arc/ARC-Easy:1.0.0", [_ARC_ROW], [(_ARC_TEXT, "fire")]),
    Case(
        "arc_challenge",
        "ai2_arc/ARC-Challenge:1.0.0",
        [_ARC_ROW],
        [(_ARC_TEXT, "fire")],
    ),
    Case(
        "winogrande",
        "winogrande:1.2.0",
        _WINOGRANDE,
        [(_WINOGRANDE_TEXT, "trophy"), (_WINOGRANDE_TEXT, "case")],
    ),
    Case(
        "natural_questions",
        "natural_questions_open:1.0.0",
        [{**_CAT, "answer": ["cat", "the tomcat"]}],
        [("nq question: who sat on the mat", "cat")],
        "test",
        "validation",
    ),
    Case(
        "web_questions",
        "web_questions:1.0.0",
        [{**_CAT, "url": "u", "answers": ["cat", "the tomcat"]}],
        [("wq question: who sat on the mat", "cat")],
        "test",
        "test",
    ),
    Case(
        "trivia_qa",
        "trivia_qa/unfiltered.nocontext:1.1.0",
        [
            {
                **_CAT,
                **{"question_id": "q", "question_source": "s"},
                **{"entity_pages": [], "search_results": []},
                "answer": {
                    **{"aliases": ["tomcat"], "normalized_aliases": ["tomcat"]},
                    **{"matched_wiki_entity_name": "", "normalized_value": "cat"},
                    "normalized_matched_wiki_entity_name": "",
                    **{"type": "x", "value": "cat"},
                },
            }
        ],
        [("trivia_qa question: who sat on the mat", "cat")],
        "test",
        "validation",
    ),
]

ALL = [*GLUE, *SUPER_GLUE, *OTHERS]

# One task for each way of writing is in every run; others of its kind in slow ones.
_QUICK = (
    *("glue_cola", "glue_mrpc", "glue_stsb", "glue_mnli"),
    *("super_glue_cb", "super_glue_multirc", "super_glue_record"),
    *("super_glue_axb", "super_glue_wsc_eval", "dpr"),
    *("squad", "cnn_dailymail", "anli_r3", "arc_easy", "winogrande"),
    *("natural_questions", "trivia_qa"),
)
PARAMETERS = [
    pytest.param(
        case, marks=[] if case.task in _QUICK else [pytest.mark.slow], id=case.task
    )
    for case in ALL
]
