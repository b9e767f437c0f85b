"""Files of a user's own as tasks, and what is said of lines that do not parse."""

import gzip
import json

import pytest
import seqio

from keras_switch.data import DataConfig, FileTask, TextFileTask, batches

BYTES = seqio.ByteVocabulary(extra_ids=100)
LENGTHS = {"inputs": 32, "targets": 16}


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return write


def first(spec, split="train"):
    config = DataConfig(
        spec, LENGTHS, 1, split, shuffle=False, pack=False, vocabulary=BYTES
    )
    inputs, targets, _ = next(iter(batches(config, "encoder-decoder")))
    ids = inputs["encoder_token_ids"][0].numpy(), targets[0].numpy()
    return tuple(BYTES.decode(x[x > 1].tolist()) for x in ids)


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
def test_columns_of_a_tsv_file_fill_the_texts(write, name):
    path = write(name, "question\tright\nwho?\tme\r\n\nwhy?\tso\n")
    spec = FileTask({"train": path}, "question: {question}", "{right}!")
    assert first(spec) == ("question: who?", "me!")
    assert spec.rows("train")[1] == {"inputs": "question: why?", "targets": "so!"}


def test_the_usual_columns_need_no_pattern(write):
    assert first(FileTask({"train": write("a.tsv", "inputs\ttargets\na\tb\n")})) == (
        "a",
        "b",
    )


def test_packing_says_nothing_of_the_texts_that_go_no_further(write, caplog):
    spec = FileTask({"train": write("a.tsv", "inputs\ttargets\na\tb\n")})
    config = DataConfig(spec, LENGTHS, 1, pack=True, vocabulary=BYTES)
    with caplog.at_level("WARNING", "absl"):
        next(iter(batches(config, "encoder-decoder")))
    assert not caplog.records


def test_json_lines_may_hold_several_right_answers(write):
    rows = [{"q": "who", "a": ["me", "I"]}, {"q": "why", "a": "so"}]
    path = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    spec = FileTask({"validation": path}, "{q}", "{a}", metrics=["squad"])
    assert first(spec, "validation") == ("who", "me")
    task = spec.task(BYTES)
    examples = list(
        task.get_dataset(None, "validation", shuffle=False).as_numpy_iterator()
    )
    targets = [task.postprocess_fn("", example=x, is_target=True) for x in examples]
    assert targets == [["me", "I"], ["so"]]
    (squad,) = task.metric_fns
    assert squad(targets, ["I", "so"]) == {"em": 100, "f1": 100}
    assert squad(targets, ["you", "no"]) == {"em": 0, "f1": 0}


def test_labels_are_scored_as_classes(write):
    path = write("a.tsv", "inputs\ttargets\nx\tbad\ny\tgood\n")
    task = FileTask({"train": path}, labels=("bad", "good")).task(BYTES)
    (accuracy,) = task.metric_fns
    classes = [task.postprocess_fn(x, example={}) for x in ("bad", "good", "other")]
    assert classes == [0, 1, -1]
    assert accuracy([0, 1], classes[:2]) == {"accuracy": 100}


def test_a_line_of_plain_text_is_a_document(write):
    path = write("a.txt", "the cat sat on the mat and looked at the moon\n" * 3)
    spec = TextFileTask({"train": path})
    config = DataConfig(spec, {"inputs": 32, "targets": 14}, 1, vocabulary=BYTES)
    inputs, _, _ = next(iter(batches(config, "encoder-decoder")))
    tokens = inputs["encoder_token_ids"].numpy()
    assert (tokens >= BYTES.vocab_size - 100).any()
    config = DataConfig(
        TextFileTask({"train": path}, "lm"),
        {"targets": 16},
        1,
        shuffle=False,
        vocabulary=BYTES,
    )
    _, targets, _ = next(iter(batches(config, "decoder-only")))
    assert BYTES.decode(targets[0].numpy().tolist()) == "the cat sat on t"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.tsv", "inputs\ttargets\na\tb\nc\n", r"a\.tsv:3: 1 columns, but.*names 2"),
        (
            "a.tsv",
            "inputs\tinputs\na\tb\n",
            r"a\.tsv:1: two columns have the same name",
        ),
        ("a.jsonl", '{"inputs": "a", "targets": "b"}\n{"in', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", "[1]\n", r"a\.jsonl:1: '\[1\]' is not an object"),
        ("a.jsonl", '{"inputs": "a"}\n', r"a\.jsonl:1: there is no column 'targets'"),
        (
            "a.jsonl",
            '{"inputs": "a", "targets": []}\n',
            r":1: the targets must hold one",
        ),
        ("a.csv", "a,b\n", r"files of tasks end in \.tsv, \.jsonl"),
        (
            "a.tsv",
            "inputs\ttargets\n",
            "Split 'train' is empty: there is no row in .*a.tsv",
        ),
        ("a.tsv", "", "Split 'train' is empty"),
    ],
)
def test_what_does_not_parse_is_named_by_file_and_line(write, name, text, says):
    with pytest.raises(ValueError, match=says):
        first(FileTask({"train": write(name, text)}))


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"fine\nnot \xff fine\n")
    with pytest.raises(ValueError, match=r"a\.txt:2: not UTF-8"):
        TextFileTask({"train": str(tmp_path / "a.txt")}).rows("train")


def test_a_target_that_is_no_label_is_named_by_its_line(write):
    path = write("a.tsv", "inputs\ttargets\nx\tgood\ny\tgodo\n")
    with pytest.raises(ValueError, match=r"a\.tsv:3: .*'godo'.*Did you mean 'good'"):
        FileTask({"train": path}, labels=("bad", "good")).rows("train")


def test_a_missing_file_an_unknown_metric_and_an_unknown_objective_are_told(write):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.tsv"):
        FileTask({"train": "nowhere.tsv"}).rows("train")
    path = write("a.tsv", "inputs\ttargets\na\tb\n")
    with pytest.raises(ValueError, match=r"no metric 'acuracy'.*'accuracy'"):
        FileTask({"train": path}, metrics=("acuracy",)).task(BYTES)
    with pytest.raises(ValueError, match="no objective 'mlm'"):
        TextFileTask({"train": path}, "mlm").task(BYTES)
    with pytest.raises(ValueError, match="files is empty"):
        FileTask({})
