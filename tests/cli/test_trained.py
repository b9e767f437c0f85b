"""Models that `infer` and `export` start from, and both on the folder of a run."""

import json

import pytest
from helpers_runs import command, saved_run

from keras_switch import models
from keras_switch.cli import command as commands
from keras_switch.cli import flags
from keras_switch.cli.__main__ import main
from keras_switch.cli.trained import TrainedConfig
from keras_switch.training import CheckpointError


def test_the_model_of_a_run_comes_with_its_lora_merged(tmp_path):
    lora = models.Lora(rank=2, targets=("query",))
    folder = saved_run(tmp_path / "run", lora=lora)
    for where in ({"model_dir": str(folder)}, {"source": str(folder)}):
        model = TrainedConfig(**where).read()
        assert model.backbone.config.lora is None
        assert not [v.path for v in model.weights if "_lora_" in v.name]


def test_a_folder_that_is_no_run_is_refused_as_one(tmp_path):
    with pytest.raises(CheckpointError, match="is not the folder of a run"):
        TrainedConfig(model_dir=str(tmp_path)).read()


@pytest.mark.parametrize("both", [{}, {"source": "a", "model_dir": "b"}])
def test_one_place_is_given(both):
    with pytest.raises(ValueError, match="give one of them"):
        TrainedConfig(**both)


QUESTIONS = ["a e i", "", "b f j", "c g i", "d"]


@pytest.fixture
def run(tmp_path):
    """Returns the folder of a run of `finetune`, with its configuration."""
    folder = saved_run(tmp_path / "run")
    values = {"MODULES": "['helpers_cli_tasks']", "TASK": "toy_words", "CHECKPOINT": 7}
    words = command(folder, "--source=elsewhere", word="finetune", **values)
    config = commands.read(flags.parse(words))
    config.bind()
    commands.save(config, folder)
    return folder


def test_a_run_answers_a_file_in_two_goes_and_as_it_is_served(
    run, tmp_path, monkeypatch, capsys
):
    import tensorflow as tf

    questions, answers = tmp_path / "questions.txt", tmp_path / "answers.jsonl"
    questions.write_text("\n".join(QUESTIONS) + "\n")
    infer = ["infer", f"--model_dir={run}", f"--inputs={questions}"]
    infer += [f"--output={answers}", "--gin.MAX_LENGTH=5", "--gin.INFER_BATCH=2"]
    generate, calls = models.SwitchSeq2SeqLM.generate, []

    def stopped(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(*args, **kwargs)

    monkeypatch.setattr(models.SwitchSeq2SeqLM, "generate", stopped)
    assert main(infer) == 130
    told = capsys.readouterr().err
    assert "2 of 5 inputs (40%" in told and "the same command goes on" in told
    assert len(answers.read_text().splitlines()) == 2
    with answers.open("a") as file:
        file.write('{"input": "c g')  # as if killed within the third line
    assert main(infer) == 0
    assert "2 of 5 are there already" in capsys.readouterr().err
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [line["input"] for line in found] == QUESTIONS

    output = tmp_path / "served" / "switch" / "1"
    limits = ["--gin.INPUT_LENGTHS=(8,)", "--gin.MAX_NEW_TOKENS=4"]
    assert main(["export", f"--model_dir={run}", f"--output={output}", *limits]) == 0
    assert "serving_default" in capsys.readouterr().out
    served = tf.saved_model.load(str(output)).signatures["serving_default"]
    wanted = served(inputs=tf.constant(QUESTIONS))
    texts = [text.decode() for text in wanted["outputs"].numpy()]
    assert [line["output"] for line in found] == texts
    scores = [line["score"] for line in found]
    assert scores == pytest.approx(wanted["scores"].numpy(), abs=1e-4)


@pytest.mark.parametrize("word", ["infer", "export"])
def test_a_source_beside_a_run_is_refused(run, word, capsys):
    words = [word, f"--model_dir={run}", "--source=a", "--inputs=b", "--output=c/1"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "\"SOURCE = 'a'\" and the run" in told and "give one of them" in told


def test_a_vocabulary_that_is_not_of_pieces_is_refused(run):
    with pytest.raises(ValueError, match=r"'toy_copy' is a ByteVocabulary.*TASK=None"):
        TrainedConfig(model_dir=str(run), task="toy_copy").read()
