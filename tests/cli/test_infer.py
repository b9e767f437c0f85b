"""`keras-switch infer` and `export` as a user types them."""

import json

import helpers_export as helpers
import pytest

from keras_switch.cli.__main__ import main

QUESTIONS = ["the quick brown fox", "", "a lazy dog\u2028sleeps", "dog", "brown fox"]


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "mine"
    model = helpers.language_model(sparse=None, num_layers=1)
    model.save_to_preset(str(folder))
    return model, folder


@pytest.fixture
def asked(preset, tmp_path):
    """Returns the words of a command, and the file that it writes."""
    _, folder = preset
    questions, answers = tmp_path / "questions.txt", tmp_path / "out" / "answers.jsonl"
    questions.write_text("\n".join(QUESTIONS) + "\n", encoding="utf-8")
    words = ["infer", f"--source={folder}", f"--inputs={questions}"]
    limits = ["MAX_LENGTH=7", "INFER_BATCH=2", "INPUT_LENGTHS=(4, 8, 32)"]
    limits = [f"--gin.{limit}" for limit in limits]
    return [*words, f"--output={answers}", *limits], answers


def read(file):
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def test_every_line_is_answered(asked, preset, capsys):
    words, answers = asked
    assert main(words) == 0
    found = read(answers)
    assert [line["input"] for line in found] == QUESTIONS
    wanted = preset[0].generate(QUESTIONS, 7, sampler="greedy")
    assert [line["output"] for line in found] == wanted
    assert all(line["score"] < 0 for line in found)
    told = capsys.readouterr().err
    assert "5 of 5 inputs" in told and "were cut" not in told


def test_longer_inputs_are_cut_and_counted(asked, preset, capsys):
    words, answers = asked
    assert main([*words, "--gin.INPUT_LENGTHS=(4,)"]) == 0
    tokenizer = preset[0].preprocessor.tokenizer
    cut = sum(len(tokenizer(text)) + 1 > 4 for text in QUESTIONS)
    assert 0 < cut < len(QUESTIONS)
    assert f"{cut} inputs were cut at 4 tokens" in capsys.readouterr().err
    assert len(read(answers)) == len(QUESTIONS)


def test_an_output_of_other_inputs_is_left_alone(asked, capsys):
    words, answers = asked
    answers.parent.mkdir()
    answers.write_text('{"input": "something else"}\n')
    assert main(words) == 2
    assert "Line 1 of" in capsys.readouterr().err
    assert answers.read_text() == '{"input": "something else"}\n'


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["infer", "--source=a", "--inputs=no.txt", "--output=x"],
            "There is no file 'no.txt'",
        ),
        (
            [
                *("infer", "--source=a", "--inputs=no.txt", "--output=x"),
                "--gin.INPUT_LENGTHS=(8, 4)",
            ],
            "input_lengths=(8, 4): give lengths from 2 on",
        ),
        (["infer", "--inputs=no.txt", "--output=x"], "give one of them"),
        (["export", "--output=served/switch/1"], "give one of them"),
        (
            ["export", "--source=a", "--output=served/switch"],
            "give NAME/1, such as served/switch/1",
        ),
        (["export"], "OUTPUT"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_is_exported_with_beams(preset, tmp_path, capsys):
    import tensorflow as tf

    model, folder = preset
    output = tmp_path / "served" / "switch" / "1"
    options = ["--gin.SAMPLER=@BeamSearch()", "--gin.BeamSearch.num_beams=2"]
    limits = ["--gin.INPUT_LENGTHS=(32,)", "--gin.MAX_NEW_TOKENS=6"]
    words = ["export", f"--source={folder}", f"--output={output}", *options, *limits]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "docker run" in printed and "serving_default" in printed
    served = tf.saved_model.load(str(output)).signatures["serving_default"]
    found = served(inputs=tf.constant(QUESTIONS))["outputs"].numpy()
    from keras_switch.models import BeamSearch

    wanted = model.generate(QUESTIONS, 7, sampler=BeamSearch(2))
    assert [text.decode() for text in found] == wanted
