"""Configurations by gin, on a toy registry: what is read, what is refused, and how."""

import dataclasses

import gin
import pytest

from keras_switch.cli import gin_calls, gin_checks, gin_files
from keras_switch.cli.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Engine:
    power: int
    fuel: str = "steam"


@dataclasses.dataclass(frozen=True)
class Wagon:
    length: float = 10.0


@dataclasses.dataclass(frozen=True)
class Train:
    engine: Engine
    wagons: tuple[Wagon, ...] = ()
    stops: dict[str, int] | None = None
    express: bool = False


def ride(train: Train, hours: int, slow: Train | None = None):
    return train, hours, slow


NAMES = ("Engine", "Wagon", "Train", "ride")


@pytest.fixture(autouse=True)
def _registry():
    gin.clear_config()
    for thing in (Engine, Wagon, Train, ride):
        gin.external_configurable(thing, module="toy")
    yield
    gin.clear_config()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Returns a function that writes gin files into the current, empty folder."""
    monkeypatch.chdir(tmp_path)

    def write(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.gin").write_text(text)

    return write


GOOD = """\
TRAIN = @Train()
Train.engine = @Engine()
Engine.power = 500
ride.train = %TRAIN
ride.hours = %HOURS
"""


def checked(files=("a.gin",), bindings=("HOURS=3",)):
    config = gin_files.read(files, bindings)
    gin_checks.check(config, "ride", NAMES)
    return config


def refusal(*arguments, **keywords):
    with pytest.raises(ConfigError) as caught:
        checked(*arguments, **keywords)
    return str(caught.value)


def test_values_become_real_objects_equal_to_those_made_by_hand(folder):
    folder(a=GOOD)
    checked().bind()
    assert gin.get_configurable("ride")() == (Train(Engine(500)), 3, None)


def test_an_include_is_found_beside_the_current_folder_and_overridden(folder):
    folder(base=GOOD, a="include 'base.gin'\nEngine.power = 900\n")
    checked().bind()
    assert gin.get_configurable("ride")()[0].engine == Engine(900)


def test_a_folder_of_the_users_does_not_disturb_the_search(folder, tmp_path):
    (tmp_path / "models").mkdir()  # gin's own reader takes this for a package
    (tmp_path / "models" / "b.gin").write_text(GOOD)
    checked(["models/b.gin"]).bind()
    assert gin.get_configurable("ride")()[1] == 3


def test_both_saved_configurations_say_the_same_when_read_again(folder):
    folder(a="import json\n" + GOOD + "slow/Engine.power = 1\n")
    config = checked()
    config.bind()
    before = gin.get_configurable("ride")()
    texts = {"config": config.text(), "operative": config.operative_text()}
    assert "Engine.fuel = 'steam'" in texts["operative"]  # a default that was used
    folder(**texts)
    for name in texts:
        again = checked([f"{name}.gin"], [])
        again.bind()
        assert gin.get_configurable("ride")() == before
        assert list(again.imports) == ["json"]


def test_a_bare_word_or_path_on_the_command_line_is_a_string(folder):
    folder(a=GOOD)
    checked(bindings=["HOURS=3", "Engine.fuel=runs/coal-2"]).bind()
    assert gin.get_configurable("ride")()[0].engine.fuel == "runs/coal-2"


def test_required_in_a_later_file_keeps_what_an_earlier_one_set(folder):
    folder(model="HOURS = 4\n", a=GOOD + "HOURS = %gin.REQUIRED\n")
    checked(["model.gin", "a.gin"], []).bind()
    assert gin.get_configurable("ride")()[1] == 4


def test_scopes_are_followed_as_gin_follows_them(folder):
    folder(
        a=GOOD
        + "ride.slow = @slow/Train()\nslow/Train.engine = @Engine()\n"
        + "slow/Engine.power = 50\nunused/Engine.power = 1\n"
    )
    config = checked()
    config.bind()
    assert gin.get_configurable("ride")()[2] == Train(Engine(50))
    used = gin_calls.used_bindings(config, "ride")
    unused = set(config.bindings) - used
    assert unused == {("unused", "Engine", "power")}


def test_an_unknown_name_is_refused_with_line_and_nearest_name(folder):
    folder(a=GOOD + "Engin.fuel = 'coal'\n")
    message = refusal()
    assert message.startswith("a.gin:6: nothing is called 'Engin'. Did you mean 'Engin")
    assert "'Engine'" in message
    assert "Engin.fuel = 'coal'" in message


def test_an_unknown_reference_is_refused_with_its_line(folder):
    folder(a="Train:\n  express = True\n  wagons = (@Wagn(),)\n" + GOOD)
    assert refusal().startswith(
        "a.gin:3: nothing is called '@Wagn'. Did you mean 'Wago"
    )


def test_an_unknown_parameter_is_refused_with_the_nearest_one(folder):
    folder(a=GOOD + "Engine.fule = 'coal'\n")
    assert "a.gin:6: Engine has no parameter 'fule'. Did you mean 'fuel'?" in refusal()


def test_all_mistakes_are_listed_at_once(folder):
    folder(a=GOOD + "Engine.fule = 'coal'\nTrian.express = True\n")
    message = refusal(bindings=["HUORS=3", "HOURS=3"])
    assert "a.gin:6" in message
    assert "a.gin:7" in message
    assert (
        "command line: nothing reads a macro 'HUORS'. Did you mean 'HOURS'?" in message
    )


def test_a_misspelt_macro_and_the_value_that_is_missing_for_it_come_together(folder):
    folder(a=GOOD + "HOURS = %gin.REQUIRED\n")
    message = refusal(bindings=["HUORS=3"])
    assert "HOURS must be set" in message
    assert "Did you mean 'HOURS'?" in message


def test_a_macro_that_nothing_sets_is_refused_where_it_is_read(folder):
    folder(a=GOOD)
    message = refusal(bindings=())
    assert message.startswith("a.gin:5: %HOURS is not set.")
    assert "--gin.HOURS=" in message


def test_a_misspelt_macro_in_a_file_is_refused(folder):
    folder(a=GOOD + "HOUSR = 3\n")
    assert "a.gin:6: nothing reads a macro 'HOUSR'. Did you mean 'HOURS'?" in refusal()


def test_a_file_may_set_a_macro_that_this_command_does_not_read(folder):
    folder(a=GOOD + "OPTIMIZER = 'something'\n")
    checked()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("Engine.power = '500'", "Engine.power must be int, not '500' (str)"),
        ("Engine.power = True", "Engine.power must be int, not True (bool)"),
        ("Engine.power = 5.0", "Engine.power must be int, not 5.0 (float)"),
        ("Wagon.length = 'long'", "Wagon.length must be float"),
        ("Train.express = 1", "Train.express must be bool, not 1 (int)"),
        ("Train.engine = @Wagon()", "Train.engine must be Engine, not @Wagon()"),
        ("Train.engine = @Engine", "Train.engine must be Engine, not @Engine"),
        ("Train.wagons = (@Wagon(), 3)", "Train.wagons must be tuple"),
        ("Train.stops = {'Ulm': 'no'}", "Train.stops must be dict[str, int] | None"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_in_its_place(folder, line, says):
    folder(a=GOOD + line + "\n")
    message = refusal()
    assert says in message
    assert "a.gin:6:" in message


def test_the_wrong_kind_in_a_macro_is_refused_where_the_macro_is_set(folder):
    folder(a=GOOD)
    message = refusal(bindings=["HOURS=soon"])
    assert message.startswith("command line: ride.hours must be int, not 'soon' (str)")


@pytest.mark.parametrize(
    "line",
    [
        "Wagon.length = 3",
        "Train.wagons = (@Wagon(), @Wagon())",
        "Train.stops = {'Ulm': 2}",
        "Train.stops = None",
    ],
)
def test_values_of_the_right_kind_pass(folder, line):
    folder(a=GOOD + line + "\n")
    checked()


def test_a_required_value_is_asked_for_where_it_is_needed(folder):
    folder(a=GOOD.replace("Engine.power = 500\n", ""))
    assert "a.gin:2: Engine.power must be set" in refusal()


def test_a_value_marked_as_required_is_asked_for(folder):
    folder(a=GOOD + "HOURS = %gin.REQUIRED\n")
    message = refusal(bindings=[])
    assert "a.gin:6: HOURS must be set: --gin.HOURS=" in message
    assert "must be int" not in message


def test_a_missing_file_is_named_with_the_nearest_one(folder):
    folder(b="include 'nowhere.gin'\n")
    assert "No gin file 'a.gin'" in refusal()
    message = refusal(files=["b.gin"])
    assert message.startswith("b.gin:1: No gin file 'nowhere.gin'.")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A = 1\nB = (1,\n", 3),  # the end of the file came first
        ("A = 1\nB 5\n", 2),
        ("A = 1\n\nB = @\n", 3),
        ("A:\n  b = 1\n c = 2\n", 3),
    ],
)
def test_what_is_not_gin_is_refused_with_its_line(folder, text, line):
    folder(a=text)
    message = refusal(bindings=[])
    assert message.startswith(f"a.gin:{line}: not gin:")


def test_a_module_that_cannot_be_imported_is_named(folder):
    folder(a="import no_such_module.tasks\n" + GOOD)
    assert "a.gin:1: cannot import 'no_such_module.tasks'" in refusal()


def test_a_macro_made_of_itself_is_refused(folder):
    folder(a=GOOD + "HOURS = [%OTHER]\nOTHER = %HOURS\n")
    assert "a.gin:6: %HOURS is made of itself." in refusal(bindings=[])
