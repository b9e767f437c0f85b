import keras
import numpy as np
import pytest
from helpers_mesh import RULES, adam
from helpers_mesh import batch as mesh_batch
from helpers_mesh import model as on_meshes
from helpers_models import TINY_SPARSE, inputs, scatter, tiny
from helpers_partitioning import on_devices

from keras_switch import models, training
from keras_switch.models.lora import variables_of
from keras_switch.models.paths import matches

ALL = ("mixer", "cross", "mlp", "experts")
DECODER = "decoder-only"


def model(targets=ALL, architecture="encoder-decoder"):
    keras.utils.set_random_seed(0)
    config = tiny(sparse=TINY_SPARSE, architecture=architecture)
    task = models.SwitchCausalLM
    if architecture == "encoder-decoder":
        task = models.SwitchSeq2SeqLM
    made = task(models.SwitchBackbone(config))
    if targets:
        made.backbone.enable_lora(2, targets=targets)
    return made


def batch(config):
    given = inputs(config, length=4, targets=4)
    targets = next(ids for name, ids in given.items() if "token" in name)
    return given, targets, np.ones(targets.shape, "float32")


def steps(made, number=3):
    step = training.TrainStep(
        made, keras.optimizers.Adam(0.01), training.TokenCrossEntropy()
    )
    return [step(batch(made.backbone.config)) for _ in range(number)], step


def test_only_lora_moves_and_merged_it_computes_the_same():
    targets = "mixer", "mlp", "experts"
    made = model(targets, DECODER)
    config = made.backbone.config
    before = {v.path: v.numpy() for v in made.weights}
    given, *_ = batch(config)
    plain = np.asarray(model(None, DECODER)(given))
    np.testing.assert_array_equal(np.asarray(made(given)), plain)
    metrics, step = steps(made)
    assert float(metrics[-1]["loss"]) < float(metrics[0]["loss"])
    for variable in made.weights:
        moved = not np.array_equal(variable.numpy(), before[variable.path])
        assert moved == ("_lora_" in variable.name), variable.path
    # Adam's two slots of each trained weight; iterations and learning rate.
    assert len(step.optimizer.variables) == 2 + 2 * len(made.trainable_weights)
    wanted = np.asarray(made(given))
    made.backbone.merge_lora()
    np.testing.assert_allclose(np.asarray(made(given)), wanted, atol=1e-6)
    assert np.abs(wanted - plain).max() > 1e-4
    assert made.backbone.config == tiny(sparse=TINY_SPARSE, architecture=DECODER)
    kernels = [path for path in before if "_lora_" not in path]
    assert [v.path for v in made.trainable_weights] == kernels


def test_parameters_are_counted_by_hand_and_without_making_them():
    made = model(("query", "encoder/block_1/*/wi"))
    added = [v for v in made.weights if "_lora_" in v.name]
    # 16 x (4 heads of 4): in 4 self and 2 cross attentions; E=4 experts 16 x 24.
    assert sum(int(np.prod(v.shape)) for v in added) == 6 * 2 * 32 + 4 * 2 * (16 + 24)
    counted = models.count(made.backbone.config)
    found = {v.path: tuple(v.shape) for v in made.backbone.weights}
    assert {w.path: w.shape for w in counted.weights} == found
    assert counted.total == made.count_params()


def test_it_is_saved_with_model_and_preset_and_alone(tmp_path):
    made = model(("value", "experts"))
    scatter(made)
    given, *_ = batch(made.backbone.config)
    wanted = np.asarray(made(given))
    made.save(tmp_path / "model.keras")
    made.backbone.save_to_preset(str(tmp_path / "preset"))
    found = [
        keras.saving.load_model(tmp_path / "model.keras"),
        models.SwitchSeq2SeqLM(
            models.SwitchBackbone.from_preset(str(tmp_path / "preset"))
        ),
    ]
    for again in found:
        np.testing.assert_array_equal(np.asarray(again(given)), wanted)
        assert all("_lora_" in v.name for v in again.trainable_weights)
    made.backbone.save_lora_weights(tmp_path / "some.lora.h5")
    other = model(None)
    values = {v.path: v for v in made.weights}
    for variable in other.weights:
        variable.assign(values[variable.path])
    other.backbone.load_lora_weights(tmp_path / "some.lora.h5")
    np.testing.assert_array_equal(np.asarray(other(given)), wanted)
    with pytest.raises(ValueError, match="holds LoRA of rank 2"):
        model(("query",)).backbone.load_lora_weights(tmp_path / "some.lora.h5")
    with pytest.raises(ValueError, match=r"must end with .lora.h5"):
        made.backbone.save_lora_weights(tmp_path / "some.h5")


def test_targets_that_are_nowhere_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'querry' matches no weight.*'query'"):
        model(("querry", "value"))
    with pytest.raises(ValueError, match="give a list of parts of paths"):
        models.Lora(targets="query")
    with pytest.raises(ValueError, match="rank=0: give a whole number"):
        models.Lora(rank=0)
    made = model(("value",))
    with pytest.raises(ValueError, match=r"already: merge it first"):
        made.backbone.enable_lora(2)


@pytest.mark.parametrize(
    ("pattern", "fine"),
    [
        ("experts", True),
        ("encoder", True),
        ("encoder/block_1", True),
        ("block_1/*/wi", True),
        ("w?", True),
        ("encoder/*/wi", True),
        ("expert", False),
        ("block_1/wi", False),
        ("decoder", False),
    ],
)
def test_patterns_are_whole_names_of_a_path(pattern, fine):
    assert matches("encoder/block_1/encoder_1/experts/wi", pattern) is fine


@pytest.mark.slow
@on_devices
def test_on_a_mesh_every_update_is_laid_out_and_trains_as_on_one_device():
    from keras_switch.partitioning import Mesh

    name = "data:2,expert:2,model:2"
    alone = on_meshes("decoder-only", "gather")
    with Mesh(name, RULES[name]):
        spread = on_meshes("decoder-only", "gather")
    for made in (alone, spread):  # outside the context of the mesh
        made.backbone.enable_lora(2, targets=("mixer", "mlp", "experts"))
    for one, other in zip(alone.weights, spread.weights, strict=True):
        other.assign(one.numpy())
    steps = [
        training.TrainStep(m, adam(), training.TokenCrossEntropy())
        for m in (alone, spread)
    ]
    for _ in range(2):
        found = [float(step(mesh_batch("decoder-only"))["loss"]) for step in steps]
        assert found[0] == pytest.approx(found[1], abs=2e-6)
    for a, b in zip(alone.weights, spread.weights, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=1e-5, err_msg=a.path)
    specs = {v.path: v.value.layout.sharding_specs for v in variables_of(spread)}
    for path, found in specs.items():
        if "_lora_" in path:
            axes = set(found) - {"unsharded"}
            assert axes <= set(specs[path.rsplit("_lora_", 1)[0]])
    path = "decoder/block_1/decoder_1/experts/wi_lora_b"
    assert specs[path] == ["expert", "unsharded", "model"]
    for made in (alone, spread):
        made.backbone.merge_lora()
    for a, b in zip(alone.weights, spread.weights, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=1e-5)
