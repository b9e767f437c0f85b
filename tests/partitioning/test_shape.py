import pytest

from keras_switch.partitioning import MeshShape


def test_a_mesh_shape_is_read_from_a_string():
    shape = MeshShape.parse(" data:4, model:2 ")
    assert shape.axes == (("data", 4), ("model", 2))
    assert shape.names == ("data", "model")
    assert (shape.size("data"), shape.size(None), shape.num_devices) == (4, 1, 8)
    assert str(shape) == "data:4,model:2"
    assert MeshShape.parse(shape) is shape
    assert shape == MeshShape((("data", 4), ("model", 2)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no axes"),
        ("data", "'data' is no pair"),
        ("data:4,,model:2", "'' is no pair"),
        ("data:4:2", "is no pair"),
        ("data:-4", "size '-4'"),
        ("data:0", "size 0"),
        ("data:x", "size 'x'"),
        ("my data:2", "'my data' is no name"),
        ("data:2,data:4", "'data' is there twice"),
        ("a:1,b:1,c:1,d:1", "4 axes"),
        (None, "is no string"),
    ],
)
def test_a_wrong_mesh_shape_says_what_is_wrong(text, told):
    with pytest.raises(ValueError, match=told):
        MeshShape.parse(text)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(
        ValueError, match=r"(?s)'a:x' cannot be read|cannot be read"
    ) as e:
        MeshShape.parse("a:x,b,c:y")
    assert str(e.value).count("\n- ") == 3
