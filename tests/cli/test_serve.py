"""`keras-switch serve` as a user types it."""

import sys

import pytest

import keras_switch
from keras_switch.cli.__main__ import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "MODEL"),
        (["--model=nothing/there"], "There is no exported model in "),
        (["--model=x", "--rest_port=7", "--grpc_port=7"], "are both 7: give two"),
        (["--model=x", "--rest_port=65536"], "rest_port=65536: give a number below"),
        (["--model=x", "--gin.MAX_QUEUE=0"], "max_queue=0: give at least 1"),
        (["--model=x", "--batch_window_ms=soon"], "batch_window_ms"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(words, message, capsys):
    assert main(["serve", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_package_that_is_missing_is_named(monkeypatch, capsys):
    for name in [*sys.modules]:
        if name.startswith("keras_switch.serving"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(keras_switch, "serving", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert main(["serve", "--model=x"]) == 2
    told = capsys.readouterr().err
    assert "needs aiohttp: pip install 'keras-switch[serve]'" in told
