import ast
import pathlib
import subprocess
import sys

import pytest

import keras_switch
from keras_switch.partitioning import LayoutRules, MeshShape
from keras_switch.partitioning.rules import DIMS, UNSPLIT

RULES = "batch:data,experts:data,d_ff:model,heads:model,vocab:model"
MESH = MeshShape.parse("data:4,model:2")


def specs(rules, dims, shape, mesh="data:4,model:2"):
    return LayoutRules.parse(rules).specs(dims, shape, MeshShape.parse(mesh))


def test_rules_are_read_from_a_string():
    rules = LayoutRules.parse(RULES)
    assert rules.axis_of("d_ff") == "model"
    assert rules.axis_of("length") is None
    assert str(rules) == RULES
    assert LayoutRules.parse(rules) is rules
    assert LayoutRules.parse("").pairs == ()


def test_a_weight_is_split_as_the_rules_say():
    assert specs(RULES, ("experts", "d_model", "d_ff"), (8, 5, 6)) == (
        "data",
        None,
        "model",
    )


def test_the_first_dimension_that_wants_an_axis_takes_it():
    dims = ("batch", "experts", "length", None)
    assert specs(RULES, dims, (8, 8, 8, 8)) == ("data", None, None, None)
    assert specs(RULES, dims[::-1], (8, 8, 8, 8)) == (None, None, "data", None)


def test_activations_that_cannot_be_split_stay_whole():
    assert specs(RULES, ("batch", "experts"), (6, 8)) == (None, "data")
    assert specs(RULES, ("batch",), (None,)) == (None,)


def test_an_axis_of_one_device_splits_nothing():
    assert specs(RULES, ("batch", "d_ff"), (4, 4), "data:1,model:2") == (None, "model")


def test_key_and_value_heads_follow_the_query_heads_where_they_can():
    assert specs(RULES, ("kv_heads",), (4,)) == ("model",)
    assert specs(RULES, ("kv_heads",), (1,)) == (None,)
    assert specs(RULES + ",kv_heads:data", ("kv_heads",), (4,)) == ("data",)
    weight = ("key", (8, 1, 4), ("d_model", "kv_heads", "d_kv"))
    LayoutRules.parse(RULES).check(MESH, [weight])
    with pytest.raises(ValueError, match="kv_heads=1 cannot be split"):
        LayoutRules.parse(RULES + ",kv_heads:model").check(MESH, [weight])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("batch", "'batch' is no pair"),
        ("dff:model", "no tensor has a dimension 'dff'; nearest is 'd_ff'"),
        ("batch:data,batch:model", "'batch' has 2 rules"),
        (3, "is no string"),
    ],
)
def test_wrong_rules_say_what_is_wrong(text, told):
    with pytest.raises(ValueError, match=told):
        LayoutRules.parse(text)


def test_an_axis_that_the_mesh_lacks_is_an_error_that_names_the_nearest():
    with pytest.raises(ValueError, match="no axis 'mdoel'; nearest is 'model'"):
        LayoutRules.parse("d_ff:mdoel").check(MESH)


def test_every_mistake_of_the_weights_is_told_before_anything_is_built():
    rules = LayoutRules.parse("experts:data,d_model:data,d_ff:model")
    weights = [
        ("a/wi", (6, 8, 64), ("experts", "d_ff", "length")),
        ("b/wi", (8, 8, 63), ("experts", "d_model", "d_ff")),
        ("c/scale", (8,), None),
        ("d/bias", (8, 8), ("d_ff",)),
    ]
    with pytest.raises(ValueError) as error:
        rules.check(MESH, weights)
    text = str(error.value)
    assert text.count("\n- ") == 4
    assert "'a/wi', (experts=6, d_ff=8, length=64)" in text
    assert "experts=6 cannot be split over data:4; nearest are 4 and 8" in text
    assert "'experts', 'd_model' are both split over 'data'" in text
    assert "d_ff=63 cannot be split over model:2; nearest are 62 and 64" in text
    assert "(8, 8) with dims ('d_ff',)" in text


def test_good_weights_pass():
    weights = [("wi", (8, 8, 64), ("experts", "d_model", "d_ff"))]
    LayoutRules.parse(RULES).check(MESH, weights)


def test_the_rules_know_the_dimensions_of_every_weight_of_the_layers():
    named = set()
    for file in (pathlib.Path(keras_switch.__file__).parent / "layers").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Tuple) and node.elts:
                values = [e.value for e in node.elts if isinstance(e, ast.Constant)]
                if "d_model" in values or "heads" in values or "experts" in values:
                    named.update(v for v in values if isinstance(v, str))
    assert named and named <= {*DIMS, *UNSPLIT}


def test_rules_and_constrain_need_no_tensorflow():
    code = """
import sys, types, pathlib
root = pathlib.Path(sys.argv[1])
package = types.ModuleType("keras_switch")
package.__path__ = [str(root)]
sys.modules["keras_switch"] = package
from keras_switch.partitioning import LayoutRules, MeshShape, constrain
assert constrain(3, "batch") == 3
print(any(name.split(".")[0] in ("tensorflow", "keras") for name in sys.modules))
"""
    root = pathlib.Path(keras_switch.__file__).parent
    command = [sys.executable, "-c", code, str(root)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
