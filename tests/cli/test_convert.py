"""`keras-switch convert`, `upcycle` and `prune-experts` as a user types them."""

import json
import pathlib

import helpers_models
import pytest

from keras_switch import convert, models
from keras_switch.cli.__main__ import main

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "hf"
TOY = (
    "--gin.MODULES=['helpers_cli_tasks']",
    "--gin.TASK=toy_copy",
    "--gin.LENGTHS={'inputs': 16, 'targets': 16}",
    "--batch_size=4",
)


def test_a_checkpoint_goes_in_and_out_unchanged(tmp_path, capsys):
    preset, out = tmp_path / "preset", tmp_path / "out"
    source = GOLDEN / "switch_tied"
    assert main(["convert", f"--source={source}", f"--target={preset}"]) == 0
    printed = capsys.readouterr()
    assert "93 weights (0.5 MB)" in printed.out and "do not chat" in printed.out
    assert "MB/s" in printed.err
    back = "--target_format=hugging_face"
    assert main(["convert", f"--source={preset}", f"--target={out}", back]) == 0
    assert f"Writing {out} 0." in capsys.readouterr().err
    first = models.SwitchSeq2SeqLM.from_preset(source)
    second = models.SwitchSeq2SeqLM.from_preset(out)
    assert convert.checksums(first) == convert.checksums(second)
    assert json.loads((out / "config.json").read_text())["num_experts"] == 4
    # What is there stays; the mistake is told before anything is read.
    assert main(["convert", f"--source={source}", f"--target={out}"]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source=nowhere", "--target=x"), "in no known format"),
        (("--source=nowhere", "--target=x", "--target_format=hf"), "no format 'hf'"),
        (("--target=x",), "SOURCE"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(arguments, message, capsys, tmp_path):
    assert main(["convert", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_dense_checkpoint_is_upcycled(tmp_path, capsys):
    target = tmp_path / "sparse"
    arguments = (f"--source={GOLDEN / 't5_v11'}", f"--target={target}")
    assert main(["upcycle", *arguments, "--num_experts=3"]) == 0
    config = models.SwitchSeq2SeqLM.from_preset(target).backbone.config
    assert config.sparse.num_experts == 3 and config.sparse.routing.renormalize
    assert "parameters after" in capsys.readouterr().out


def test_experts_are_pruned_and_the_loss_of_it_is_told(tmp_path, capsys):
    config = helpers_models.tiny(vocab_size=384)
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    helpers_models.scatter(model)
    model.save_to_preset(str(tmp_path / "all"))
    target = tmp_path / "fewer"
    arguments = (f"--source={tmp_path / 'all'}", f"--target={target}", *TOY)
    more = ("--num_experts=2", "--gin.METHOD=@MergeSimilar()", "--gin.EVAL_STEPS=1")
    assert main(["prune-experts", *arguments, *more]) == 0
    printed = capsys.readouterr().out
    assert "loss before" in printed and "tokens whose expert stays" in printed
    found = models.SwitchSeq2SeqLM.from_preset(target).backbone.config
    assert found.sparse.num_experts == 2
