"""Published gin files of T5X as configs."""

import pytest

from keras_switch import convert, models
from keras_switch.convert import gin_text
from keras_switch.convert.t5x_config import from_t5x
from keras_switch.convert.t5x_known import KNOWN

PUBLISHED = {
    "switch_base": "switch_base_128",
    "switch_large": "switch_large_128",
    "switch_xxl": "switch_xxl",
    "switch_c": "switch_c",
}


@pytest.mark.parametrize("file", PUBLISHED)
def test_the_published_moe_configs_are_the_presets_of_their_names(file, tmp_path):
    path = tmp_path / "x.gin"
    path.write_text(f"include 'flaxformer/t5x/configs/moe/models/{file}.gin'\n")
    found, preset = from_t5x(gin_text.read(path, KNOWN)), models.preset(PUBLISHED[file])
    assert models.count(found).total == preset.parameters
    assert found.sparse.routing.capacity == preset.config.sparse.routing.capacity
    assert found.sparse_layers("encoder") == preset.config.sparse_layers("encoder")
    assert found.mlp == preset.config.mlp


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("t5_1_1/small", "t5_1_1_small"),
        ("t5_1_1/xxl", "t5_1_1_xxl"),
        ("t5_1_0/11B", "t5_11b"),
        ("t5_1_0/base", "t5_base"),
    ],
)
def test_the_published_dense_configs_are_the_presets_of_their_names(
    file, name, tmp_path
):
    path = tmp_path / "x.gin"
    path.write_text(f"include 't5x/examples/t5/{file}.gin'\nDROPOUT_RATE = 0.1\n")
    config = from_t5x(gin_text.read(path, KNOWN))
    assert models.count(config).total == models.preset(name).parameters
    assert config.dropout_rate == 0.1


def test_an_unknown_setting_of_a_dense_model_is_told(tmp_path):
    path = tmp_path / "x.gin"
    path.write_text("network.T5Config.emb_dims = 8\n")
    with pytest.raises(convert.ConversionError, match=r"emb_dims: unknown.*'emb_dim'"):
        from_t5x(gin_text.read(path))
