"""`keras-switch serve` as a user types it."""

import pytest

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
