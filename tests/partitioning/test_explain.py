import keras
import pytest
from helpers_partitioning import on_devices

from keras_switch import explain_layout, layers
from keras_switch.partitioning import Mesh, Sequential


def experts():
    layer = layers.Experts(4, 6, name="experts")
    layer.build((None, None, 5))
    return layer


@on_devices
def test_the_table_says_how_each_weight_is_split_and_what_a_device_holds():
    with Mesh("data:4,model:2", "experts:data,d_ff:model"):
        table = explain_layout(experts())
    wi = next(row for row in table.rows if row.path == "experts/wi")
    assert (wi.shape, wi.spec) == ((4, 5, 6), ("data", None, "model"))
    assert wi.bytes_per_device == 4 * 4 * 5 * 6 // 8
    assert table.bytes_per_device == sum(row.bytes_per_device for row in table.rows)
    lines = str(table).splitlines()
    assert lines[0] == "Weights on the mesh data:4,model:2"
    assert any("(data, -, model)" in line for line in lines)
    assert lines[-1].split() == ["total", f"{table.bytes_per_device:,}"]
    assert len({len(line) for line in lines[1:]}) == 1


def test_without_a_mesh_one_device_holds_everything():
    layer = keras.layers.Dense(3, dtype="bfloat16", name="dense")
    layer.build((None, 2))
    table = explain_layout(layer)
    assert table.mesh is None
    assert [row.bytes_per_device for row in table.rows] == [12, 6]


def test_a_model_without_weights_is_an_error():
    with pytest.raises(ValueError, match="no weights yet"):
        explain_layout(Sequential())
