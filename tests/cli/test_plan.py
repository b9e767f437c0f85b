"""`keras-switch plan` as a user types it."""

import json

from keras_switch.cli.__main__ import main

TINY = "--gin_file=models/switch_tiny.gin"


def run(*arguments):
    return main(["plan", *arguments])


def test_a_plan_needs_a_model_and_a_mesh_alone(capsys):
    assert run("--gin_file=models/switch_c.gin", "--mesh_shape=data:64,model:32") == 0
    text = capsys.readouterr().out
    assert "1,571,327,875,360" in text and "2,048 (data:64,model:32)" in text
    # 30 heads do not divide by 32: the usual rules leave them whole, and say so.
    assert "batch:data,experts:data,d_ff:model,vocab:model" in text
    assert "attention" in text


def test_flags_are_macros_and_json_goes_to_a_file(tmp_path, capsys):
    file = tmp_path / "plan.json"
    flags = "--mesh_shape=data:4,model:2", "--batch_size=64", "--chip=h100"
    rules = "--layout_rules=batch:data,experts:data,d_ff:model"
    assert run(TINY, *flags, rules, f"--json={file}") == 0
    found = json.loads(file.read_text())
    assert found["chip"]["name"] == "h100" and found["batch"]["size"] == 64
    assert found["rules"] == "batch:data,experts:data,d_ff:model"
    assert "Messages of one step" in capsys.readouterr().out


def test_json_may_replace_the_table(capsys):
    assert run(TINY, "--json=-") == 0
    assert json.loads(capsys.readouterr().out)["devices"] == 1


def test_files_of_layouts_and_optimizers_and_gin_values_are_taken(capsys):
    files = "--gin_file=layouts/data_8.gin", "--gin_file=optimizers/adamw.gin"
    lengths = "--gin.LENGTHS={'inputs': 64, 'targets': 16}"
    more = "--gin.DTYPE=float32", "--gin.TRAIN_STEPS=10"
    assert run(TINY, *files, lengths, *more) == 0
    text = capsys.readouterr().out
    assert "8 (data:8)" in text and "float32, AdamW" in text
    assert "64 inputs + 16 targets" in text


def test_an_impossible_layout_is_told_whole_and_ends_with_code_2(capsys):
    assert run(TINY, "--mesh_shape=data:3", "--layout_rules=experts:data,d_ff:dat") == 2
    out, err = capsys.readouterr()
    assert "THIS LAYOUT IS NOT POSSIBLE" in out and "has no axis 'dat'" in out
    assert "do not fit the mesh 'data:3'" in err


def test_mistakes_in_flags_are_answered_in_a_sentence(capsys):
    for flag, answer in (
        ("--chip=tpu_v9", "There is no chip 'tpu_v9'"),
        ("--mesh_shape=data=4", "cannot be read"),
        ("--layout_rules=batchs:data", "nearest is 'batch'"),
        ("--batch_size=0", "Batch got size=0"),
    ):
        assert run(TINY, flag) == 2
        assert answer in capsys.readouterr().err


def test_without_a_model_there_is_no_plan(capsys):
    assert run() == 2
    assert "MODEL must be set" in capsys.readouterr().err
