"""Gin files as data."""

import pathlib

import pytest

from keras_switch.convert import ConversionError, gin_text

TEXT = """\
from __gin__ import dynamic_registration
import mesh_tensorflow.optimize  # never imported here

# Macros:
d_ff = 2048
NAMES = ('relu', 'linear')
DEEP = %d_ff
ROUNDED = %moe_enums.LayerLayout.MIXED
OPEN = %gin.REQUIRED

dense.MlpBlock:
  use_bias = False
  width = %DEEP  # provided above
expert/dense.MlpBlock.width = 7
LayerStack.final = \\
    [@transformer.sublayer_rms_norm,
     @scoped/transformer.sublayer_dropout()]
utils.run.lengths = {"inputs": 512, 'targets': 114}
utils.run.rate = 1e-3
utils.run.negative = -2
"""


@pytest.fixture
def gin(tmp_path):
    file = tmp_path / "run.gin"
    file.write_text(TEXT)
    return gin_text.read(file)


def test_values_are_literals_macros_and_references(gin):
    assert gin.macro("d_ff") == 2048 and gin.macro("DEEP") == 2048
    assert gin.macro("NAMES") == ("relu", "linear")
    assert gin.macro("ROUNDED") == "MIXED"  # a constant of Python's, by its last word
    assert gin.macro("OPEN") is None and gin.macro("absent", 3) == 3
    assert gin.get("run", "lengths") == {"inputs": 512, "targets": 114}
    assert gin.get("run", "rate") == 1e-3 and gin.get("run", "negative") == -2
    first, second = gin.get("LayerStack", "final")
    assert first.last == "sublayer_rms_norm"
    assert second == gin_text.Reference("scoped/transformer.sublayer_dropout()")
    assert second.last == "sublayer_dropout"


def test_scopes_go_first_and_fall_back(gin):
    assert gin.get("MlpBlock", "width") == 2048
    assert gin.get("MlpBlock", "width", scope="expert") == 7
    assert gin.get("MlpBlock", "use_bias", scope="expert") is False
    assert gin.parameters("MlpBlock") == {"use_bias", "width"}
    assert gin.parameters("Absent") == set()


def test_included_files_come_first_and_later_values_win(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base.gin").write_text("A = 1\nB = 2\n")
    file = tmp_path / "runs" / "mine.gin"
    file.parent.mkdir()
    file.write_text("include 'models/base.gin'\ninclude 'known.gin'\nB = 3\n")
    gin = gin_text.read(file, {"known.gin": "C = 4\n"})
    assert [gin.macro(name) for name in "ABC"] == [1, 3, 4]
    with pytest.raises(
        ConversionError, match=r"includes 'known\.gin', which is neither"
    ):
        gin_text.read(file)


@pytest.mark.parametrize(
    "text",
    [
        "A = __import__('os').getcwd()",
        "A = (1,",
        "just words",
        "A = 1\n  B = 2\n C = 3",
        "A = 'never closed",
    ],
)
def test_what_is_no_gin_file_is_told_and_nothing_is_run(tmp_path, text):
    file = tmp_path / "bad.gin"
    file.write_text(text)
    with pytest.raises(ConversionError, match=r"bad\.gin.*is no gin file"):
        gin_text.read(pathlib.Path(file))


def test_a_macro_that_leads_back_to_itself_is_told(tmp_path):
    file = tmp_path / "loop.gin"
    file.write_text("A = %B\nB = %A\n")
    with pytest.raises(ConversionError, match="leads back to itself"):
        gin_text.read(file).macro("A")
