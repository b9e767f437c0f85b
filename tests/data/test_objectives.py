"""T5's objectives on bytes, where every id can be checked against the text."""

import itertools
import random

import pytest
import seqio

from keras_switch.data.objectives import add_text_tasks
from keras_switch.data.text_source import TextSource

VOCABULARY = seqio.ByteVocabulary(extra_ids=100)  # 3 specials, 256 bytes, 100 sentinels
TOP, FIRST_SENTINEL, END = 358, 259, 1
LENGTHS = {"inputs": 60, "targets": 20}
draw = random.Random(0)
TEXTS = ["".join(draw.choices("abcdefgh ", k=draw.randint(40, 200))) for _ in range(12)]
WHOLE = VOCABULARY.encode("".join(TEXTS))


@pytest.fixture(scope="module", autouse=True)
def _tasks():
    rows = [{"text": text} for text in TEXTS]
    add_text_tasks("toy", TextSource(lambda split: rows, ("train",)), VOCABULARY)
    yield
    for objective in ("span_corruption", "prefix_lm", "lm"):
        seqio.TaskRegistry.remove(f"toy_{objective}")


def examples(objective, lengths, seed=0):
    dataset = seqio.TaskRegistry.get(f"toy_{objective}").get_dataset(
        lengths, "train", shuffle=False, seed=seed
    )
    for example in dataset.as_numpy_iterator():
        yield {key: example[key].tolist() for key in lengths}


def spans(ids):
    """Splits `[a, b, SENTINEL, c]` into `{None: [a, b], SENTINEL: [c]}`."""
    result, key = {None: []}, None
    for i in ids:
        if i >= FIRST_SENTINEL:
            key = i
            result[key] = []
        else:
            result[key].append(i)
    return result


def original(example):
    """Puts the targets of a span corruption back into its inputs."""
    kept, dropped = spans(example["inputs"][:-1]), spans(example["targets"][:-1])
    for key, ids in kept.items():
        yield from dropped.get(key, ())
        yield from ids


def test_targets_of_span_corruption_are_what_the_inputs_lack():
    rebuilt = itertools.chain(*map(original, examples("span_corruption", LENGTHS)))
    assert list(rebuilt) == WHOLE


def test_sentinels_count_down_from_the_last_id_in_inputs_and_targets():
    *full, _ = examples("span_corruption", LENGTHS)  # the last may be a single id
    for example in full:
        for ids in example.values():
            sentinels = [i for i in ids if i >= FIRST_SENTINEL]
            assert sentinels == list(range(TOP, TOP - len(sentinels), -1))
            assert len(sentinels) == 3
            assert ids[-1] == END


def test_span_corruption_fills_its_inputs_and_drops_15_percent():
    *full, _ = examples("span_corruption", LENGTHS)  # the last one is cut off
    for example in full:
        # 60 inputs: 58 or 59 ids with sentinels and the end; 67 ids, 10 of them noise
        # in round(10 / 3) = 3 spans give 57 + 3 + 1 = 61 > 60, so 66: 56 + 3 + 1 = 60.
        assert len(example["inputs"]) == 60
        assert len(example["targets"]) == 10 + 3 + 1


def test_the_seed_draws_the_spans():
    first, again, other = (
        list(examples("span_corruption", LENGTHS, seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_prefix_and_rest_make_up_the_text():
    lengths = {"inputs": 50, "targets": 50}
    rebuilt = [
        i
        for example in examples("prefix_lm", lengths)
        for i in example["inputs"][:-1] + example["targets"][:-1]
    ]
    assert rebuilt == WHOLE


def test_language_modelling_marks_ends_of_documents_alone():
    ids = [i for example in examples("lm", {"targets": 64}) for i in example["targets"]]
    assert ids == [i for text in TEXTS for i in (*VOCABULARY.encode(text), END)]


def test_too_few_targets_for_span_corruption_name_the_number_needed():
    with pytest.raises(ValueError, match=r"\(14\) is greater than .* \(8\)"):
        list(examples("span_corruption", {"inputs": 60, "targets": 8}))
