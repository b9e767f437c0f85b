"""Checkpoints of T5X: its own, scanned ones, round trips, and bad ones."""

import json
import pathlib
import re
import shutil

import helpers_checkpoints as checkpoints
import helpers_models
import ml_dtypes
import numpy as np
import pytest

from keras_switch import convert, models
from keras_switch.convert import engine, gin_text, t5x, t5x_files, t5x_gin
from keras_switch.convert.source import Arrays
from keras_switch.convert.t5x_config import from_t5x
from keras_switch.convert.t5x_known import KNOWN
from keras_switch.dispatch import FlaxformerGroups
from keras_switch.routing import CapacityFactor, ExpertChoice, Switch, TopK

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "flaxformer"
GOLDEN = GOLDENS / "switch_base_tiny"


@pytest.fixture
def folder(tmp_path):
    """Returns a copy of a real checkpoint with the config of its run."""
    copy = pathlib.Path(shutil.copytree(GOLDEN / "ckpt", tmp_path / "run"))
    shutil.copy(GOLDEN / "model.gin", copy / "model.gin")
    return copy


def params(name="switch_base_tiny"):
    with np.load(GOLDENS / name / "params.npz") as arrays:
        return dict(arrays)


def test_a_real_checkpoint_holds_its_parameters(folder):
    found = t5x.read(folder)
    table, _ = t5x.names(Arrays(params()))
    report = engine.load(found.model.weights, Arrays(params()), table)
    assert report.checksums == found.report.checksums
    assert "checkpoint_1000" in str(found.report)
    assert t5x.read(folder / "checkpoint_1000").report.checksums == report.checksums


def test_the_newest_checkpoint_is_taken(folder):
    newer = shutil.copytree(folder / "checkpoint_1000", folder / "checkpoint_20000")
    assert t5x.folder_of(folder) == pathlib.Path(newer)
    assert t5x.folder_of(folder.parent) is None


def sparse(config, **changes):
    import dataclasses

    routing = Switch(
        capacity=CapacityFactor(1.25, 2.0, 2, "round", at_most_group=False),
        padding="flaxformer",
        z_loss_weight=0.001,
    )
    part = models.Sparse(
        4,
        48,
        models.Every(2),
        routing=routing,
        groups=FlaxformerGroups(16, 4),
        layer_losses=models.LayerMean(),
    )
    part = dataclasses.replace(part, **changes)
    return dataclasses.replace(config, sparse=part)


TOP2 = TopK(
    2,
    balance_over="all",
    padding="flaxformer_ignore",
    capacity=CapacityFactor(1.0, 1.0, 4, "round", at_most_group=False),
)
ROUND_TRIPS = {
    "dense": helpers_models.tiny(sparse=None, position=models.RelativePosition()),
    "gated, untied": helpers_models.tiny(
        sparse=None,
        position=models.RelativePosition(),
        mlp=models.GatedMlp("silu"),
        tie_embeddings=False,
        dropout_rate=0.1,
        num_decoder_layers=3,
    ),
    "switch": sparse(helpers_models.tiny()),
    "top-2, bias, extra mlp": sparse(
        helpers_models.tiny(mlp=models.GatedMlp()),
        routing=TOP2,
        router=models.RouterOptions(use_bias=True),
        extra_mlp=models.GatedMlp(),
        expert_dropout_rate=0.4,
        d_ff=None,
    ),
    "experts choose": sparse(
        helpers_models.tiny(num_layers=3),
        placement=models.Bottom(1),
        routing=ExpertChoice(padding="flaxformer", capacity=TOP2.capacity),
        decoder_routing=TOP2,
    ),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_round_trip_changes_no_bit(name, tmp_path):
    model = convert.model.build(ROUND_TRIPS[name])
    helpers_models.scatter(model)
    t5x.write(model, tmp_path, step=3)
    found = t5x.read(tmp_path)
    assert found.report.checksums == convert.checksums(model)
    again, config = found.model.backbone.config, model.backbone.config
    assert again.sparse_layers("encoder") == config.sparse_layers("encoder")
    assert (again.mlp, again.position, again.tie_embeddings) == (
        config.mlp,
        config.position,
        config.tie_embeddings,
    )
    if config.sparse:
        assert again.routing("decoder") == config.routing("decoder")
        assert again.sparse.groups == config.sparse.groups
        assert again.sparse.extra_mlp == config.sparse.extra_mlp


def test_what_is_written_is_laid_out_as_t5x_does(tmp_path):
    config = ROUND_TRIPS["switch"]
    model = convert.model.build(config)
    t5x.write(model, tmp_path)
    folder = tmp_path / "checkpoint_0"
    real = json.loads(
        (
            GOLDEN / "ckpt/checkpoint_1000/target.encoder.layers_1.mlp.expert"
            ".wi.kernel/.zarray"
        ).read_text()
    )
    ours = json.loads(
        (folder / "target.encoder.layers_1.mlp.expert.wi.kernel/.zarray").read_text()
    )
    same = ("compressor", "dtype", "order", "zarr_format", "dimension_separator")
    assert {key: ours[key] for key in same} == {key: real[key] for key in same}
    tree = t5x_files._tree(folder / "checkpoint")
    assert tree["version"] == 3 and tree["optimizer"]["state"]["step"] == 0
    leaf = tree["optimizer"]["target"]["token_embedder"]["embedding"]
    assert leaf["kvstore"] == {
        "driver": "file",
        "path": "target.token_embedder.embedding/",
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (helpers_models.tiny(architecture="decoder-only"), "needs an encoder-decoder"),
        (helpers_models.tiny(sparse=None), "its dense models have"),
        (helpers_models.tiny(layer_norm_epsilon=1e-5), "it has 1e-6"),
        (sparse(helpers_models.tiny(num_layers=4), placement=models.Even()), "layouts"),
        (
            sparse(helpers_models.tiny(), routing=TopK(2, renormalize=True)),
            "none like it",
        ),
    ],
)
def test_what_t5x_cannot_run_is_not_written(config, message):
    with pytest.raises(convert.ConversionError, match=message):
        t5x_gin.to_t5x(config)


def test_what_can_only_be_said_nearly_is_told():
    _, notes = t5x_gin.to_t5x(checkpoints.small().backbone.config)
    assert len(notes) == 2 and "no fixed capacity" in notes[0]


def scanned(arrays, kinds):
    """Returns parameters with every `kinds`-th layer stacked on axis 1, as scan does.

    Each layer gets the relative bias of its stack.
    """
    found, stacks = {}, {}
    for name, value in arrays.items():
        match = re.fullmatch(r"(\w+)/layers_(\d+)/(.*)", name)
        if match:
            at, kind = divmod(int(match[2]), kinds)
            inner = f"/subblock_{kind}" if kinds > 1 else ""
            key = f"{match[1]}/{match[1]}{inner}/{match[3]}"
            stacks.setdefault(key, {})[at] = value
        elif not name.endswith("rel_embedding"):
            found[name] = value
    for key, values in stacks.items():
        found[key] = np.stack([values[at] for at in range(len(values))], axis=1)
    for stack in ("encoder", "decoder"):
        bias = arrays[f"{stack}/relpos_bias/rel_embedding"]
        depth = found[
            f"{stack}/{stack}{'/subblock_0' if kinds > 1 else ''}"
            f"/pre_mlp_layer_norm/scale"
        ].shape[1]
        for kind in range(kinds):
            inner = f"/subblock_{kind}" if kinds > 1 else ""
            key = f"{stack}/{stack}{inner}/relpos_bias/rel_embedding"
            found[key] = np.repeat(bias[:, np.newaxis, :], depth, axis=1)
    return found


def dense():
    """Returns parameters of a plain dense T5, and its config."""
    config = ROUND_TRIPS["gated, untied"]
    model = convert.model.build(config)
    helpers_models.scatter(model)
    table = t5x.t5x_names.table({"encoder": 0, "decoder": 0})
    return config, dict(engine.dump(model.weights, table)), convert.checksums(model)


def on_disk(folder, tensors, config):
    """Writes any tensors as a checkpoint, beside the config of a model."""
    checkpoint = folder / "checkpoint_5"
    checkpoint.mkdir(parents=True)
    t5x_files.write(tensors.items(), checkpoint, 5)
    (folder / "config.gin").write_text(config)
    return folder


def test_a_scanned_dense_model_is_unstacked(tmp_path):
    config, arrays, sums = dense()
    text, _ = t5x_gin.to_t5x(config)
    on_disk(tmp_path, scanned(arrays, 1), text.replace("t5.", "scalable_t5."))
    assert t5x.read(tmp_path).report.checksums == sums


def test_a_scanned_sparse_model_is_unstacked(tmp_path, folder):
    sums = t5x.read(folder).report.checksums
    text = (GOLDEN / "model.gin").read_text()
    on_disk(tmp_path / "scanned", scanned(params(), 2), text)
    assert t5x.read(tmp_path / "scanned").report.checksums == sums


def test_layers_with_biases_of_their_own_are_refused(tmp_path):
    config, arrays, _ = dense()
    stacked = scanned(arrays, 1)
    stacked["decoder/decoder/relpos_bias/rel_embedding"][0, 1, 0] += 1
    on_disk(tmp_path, stacked, t5x_gin.to_t5x(config)[0])
    with pytest.raises(convert.ConversionError, match="the decoder have different rel"):
        t5x.read(tmp_path)


def test_masters_in_bfloat16_are_cast(tmp_path):
    config, arrays, _ = dense()
    halves = {name: value.astype(ml_dtypes.bfloat16) for name, value in arrays.items()}
    on_disk(tmp_path, halves, t5x_gin.to_t5x(config)[0])
    weights = t5x.read(tmp_path).model.weights
    wanted = halves["token_embedder/embedding"].astype("float32")
    np.testing.assert_array_equal(weights[0], wanted)


def tree_of(folder):
    return folder / "checkpoint_1000" / "checkpoint"


def change_tree(folder, change):
    import msgpack

    raw = msgpack.unpackb(tree_of(folder).read_bytes(), strict_map_key=False)
    change(raw)
    tree_of(folder).write_bytes(msgpack.packb(raw))


def embedding(tree):
    return tree["optimizer"]["target"]["token_embedder"]["embedding"]


SPOILT = {
    "a chunk is gone": (
        lambda f: (f / "checkpoint_1000/target.token_embedder.embedding/0.0").unlink(),
        "is missing, a part of token_embedder/embedding",
    ),
    "an array is gone": (
        lambda f: shutil.rmtree(f / "checkpoint_1000/target.token_embedder.embedding"),
        "no zarr array of version 2",
    ),
    "a chunk is cut off": (
        lambda f: (
            f / "checkpoint_1000/target.token_embedder.embedding/0.0"
        ).write_bytes(b"\x1f\x8b\x08"),
        "token_embedder/embedding of .* cannot be read",
    ),
    "the tree is cut off": (
        lambda f: tree_of(f).write_bytes(tree_of(f).read_bytes()[:500]),
        "is no tree of a T5X checkpoint",
    ),
    "version 2": (
        lambda f: change_tree(f, lambda tree: tree.update(version=2)),
        "of version 2: version 3 is read",
    ),
    "a path outside": (
        lambda f: change_tree(
            f, lambda tree: embedding(tree)["kvstore"].update(path="../../x/")
        ),
        r"refers to '\.\./\.\./x/', which is no folder beside",
    ),
    "a weight too many": (
        lambda f: change_tree(
            f,
            lambda tree: tree["optimizer"]["target"].update(
                more={"kernel": embedding(tree)}
            ),
        ),
        "more/kernel: left over",
    ),
    "a weight too few": (
        lambda f: change_tree(
            f, lambda tree: tree["optimizer"]["target"].pop("token_embedder")
        ),
        "token_embedder/embedding: missing",
    ),
    "no config": (lambda f: (f / "model.gin").unlink(), "has none of config.gin"),
    "another number of experts": (
        lambda f: (f / "model.gin").write_text(
            (f / "model.gin").read_text().replace("EXPERTS = 4", "EXPERTS = 8")
        ),
        "mlp/expert/wi/kernel: of shape",
    ),
    "another layout": (
        lambda f: (f / "model.gin").write_text(
            (f / "model.gin").read_text() + "ENCODER_SPARSE_LAYOUT = 'SOME'\n"
        ),
        "ENCODER_SPARSE_LAYOUT='SOME': known are MIXED",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_bad_checkpoint_is_refused(folder, name):
    spoil, message = SPOILT[name]
    spoil(folder)
    with pytest.raises(convert.ConversionError, match=message):
        t5x.read(folder)


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
