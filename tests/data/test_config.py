import dataclasses

import pytest

from keras_switch.data import DataConfig


def test_all_mistakes_are_told_at_once():
    with pytest.raises(
        ValueError,
        match=r"task 'a'.*batch_size is 0.*num_epochs is 1\.5.*lengths\['inputs'\] is",
    ):
        DataConfig("a", {"inputs": -1, "targets": 8}, batch_size=0, num_epochs=1.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": ""}, "must be the name"),
        ({"lengths": {}}, "lengths is empty"),
        ({"readers": 0}, "readers is 0, give a whole number"),
        ({"readers": 3}, "3 readers cannot share: give a multiple of 3"),
        ({"batch_size": True}, "batch_size is True, give a whole number"),
        ({"vocabulary": "a.model"}, r"path 'a.model', give .*vocabulary\(path\)"),
    ],
)
def test_a_mistake_says_what_to_give(arguments, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**({"task": "a"} | arguments))


def test_evaluation_is_one_ordered_pass_over_another_split():
    config = DataConfig("a", {"targets": 8}, batch_size=4, pack=False, seed=7)
    assert config.for_evaluation("test") == dataclasses.replace(
        config, split="test", shuffle=False, num_epochs=1
    )
