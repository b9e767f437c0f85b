import os

import pytest

from keras_switch.partitioning import environment


@pytest.fixture
def given(monkeypatch):
    for name in [n for n in os.environ if n.startswith(("DTENSOR_", "KERAS_SWITCH_V"))]:
        monkeypatch.delenv(name)

    def given(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return given


def test_without_variables_there_is_one_process_with_its_own_devices(given):
    environment.check()
    assert environment.num_processes() == 1
    assert environment.virtual_devices() is None


def test_a_launcher_tells_processes_and_devices(given):
    given(
        DTENSOR_JOBS="host:10000,host:10001",
        DTENSOR_CLIENT_ID="1",
        DTENSOR_NUM_CLIENTS="2",
        DTENSOR_JOB_NAME="worker",
        KERAS_SWITCH_VIRTUAL_DEVICES="4",
    )
    environment.check()
    assert environment.num_processes() == 2
    assert environment.virtual_devices() == 4


def test_every_mistake_is_told_at_once(given):
    given(
        DTENSOR_JOBS="host:1,host:1,other",
        DTENSOR_CLIENT_ID="3",
        DTENSOR_NUM_CLIENTS="2",
        KERAS_SWITCH_VIRTUAL_DEVICES="none",
    )
    with pytest.raises(ValueError, match="environment of this process") as error:
        environment.check()
    for part in (
        "'other' is no host:port",
        "'host:1' is there twice",
        "DTENSOR_NUM_CLIENTS=2, but DTENSOR_JOBS names 3",
        "DTENSOR_CLIENT_ID=3: give a number from 0 to 2",
        "KERAS_SWITCH_VIRTUAL_DEVICES=none: give a whole number",
    ):
        assert part in str(error.value)


def test_a_process_must_know_its_number(given):
    given(DTENSOR_JOBS="host:1,host:2")
    with pytest.raises(ValueError, match=r"CLIENT_ID is missing.*from 0 to 1"):
        environment.check()
    given(DTENSOR_JOBS="", DTENSOR_NUM_CLIENTS="2")
    with pytest.raises(ValueError, match="CLIENTS=2, but DTENSOR_JOBS names 0"):
        environment.check()
