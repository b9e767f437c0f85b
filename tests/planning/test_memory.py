"""Bytes of weights and slots against real models and optimizers, to the byte."""

import dataclasses

import helpers_models
import helpers_planning as helpers
import keras
import pytest

from keras_switch import models, training
from keras_switch.partitioning import LayoutRules, MeshShape
from keras_switch.planning import Batch, Layout, walk
from keras_switch.planning.memory import activations, memory, slots

CONFIG = helpers_models.tiny(mlp=models.GatedMlp(), tie_embeddings=False)
ALONE = Layout(MeshShape.parse("data:1"), LayoutRules())
OPTIMIZERS = {
    "adafactor": training.Adafactor(),
    "adafactor, small": training.Adafactor(factoring=training.T5XFactoring(8)),
    "adafactor, mesh": training.Adafactor(
        factoring=training.MeshTensorFlowFactoring(8, ("experts",))
    ),
    "adafactor, momentum": training.Adafactor(
        factoring=training.Unfactored(), beta_1=0.9
    ),
    "adam": keras.optimizers.Adam(),
    "adam, average": keras.optimizers.AdamW(use_ema=True),
    "sgd": keras.optimizers.SGD(),
    "momentum": keras.optimizers.SGD(momentum=0.9),
    "accumulated": keras.optimizers.Lion(gradient_accumulation_steps=4),
}


def bytes_of(variables):
    sizes = {"float32": 4, "bfloat16": 2}
    return sum(
        sizes[v.dtype] * int(keras.ops.prod(keras.ops.array(v.shape or (1,))))
        for v in variables
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_are_those_of_the_real_optimizer(name):
    model = models.SwitchBackbone(CONFIG)
    optimizer = OPTIMIZERS[name]
    own = type(optimizer).from_config(optimizer.get_config())
    own.build(model.trainable_variables)
    real = [v for v in own.variables if v.name not in ("iteration", "learning_rate")]
    planned = slots(models.count(CONFIG), optimizer)
    assert sorted(t.shape for t in planned) == sorted(tuple(v.shape) for v in real)
    assert sum(t.bytes for t in planned) == bytes_of(real)
    assert not optimizer.built


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
def test_weights_take_the_bytes_of_the_real_model(policy):
    count = models.count(CONFIG, policy)
    step = walk(CONFIG, Batch(2, helpers.lengths(CONFIG)))
    stored = keras.dtype_policies.get(policy).variable_dtype
    found = memory(count, training.Adafactor(), step, ALONE, stored)
    model = models.SwitchBackbone(CONFIG, dtype=policy)
    assert found.weights == found.gradients == bytes_of(model.trainable_variables)
    parts = found.weights + found.slots + found.gradients + found.copies
    assert found.total == parts + found.activations


def test_weights_in_the_compute_dtype_are_those_that_keras_casts():
    step = walk(CONFIG, Batch(2, helpers.lengths(CONFIG)), "bfloat16")
    count = models.count(CONFIG, "mixed_bfloat16")
    found = memory(count, training.Adafactor(), step, ALONE, "float32")
    islands = "norm/", "/router/", "token_embedding/"
    cast = [w for w in count.weights if not any(i in w.path for i in islands)]
    assert found.copies == 2 * sum(w.total for w in cast)


def test_weights_split_over_the_batchs_axis_are_brought_together():
    split = Layout(
        MeshShape.parse("data:4"), LayoutRules.parse("batch:data,d_model:data")
    )
    step = walk(CONFIG, Batch(4, helpers.lengths(CONFIG)))
    count = models.count(CONFIG)
    found = memory(count, training.Adafactor(), step, split, "float32")
    # All that have a d_model, but the table, whose rows are only looked up.
    used = [w for w in count.weights if "d_model" in w.dims]
    used = [w for w in used if w.path != "token_embedding/embedding"]
    assert found.copies == 4 * sum(w.total for w in used)


def test_weights_and_slots_lie_in_parts():
    # Experts (8, 16, 24) over data:4 and d_ff over model:2; all else is whole.
    config = helpers_models.tiny(sparse=models.Sparse(8, decoder_placement=None))
    split = Layout(
        MeshShape.parse("data:4,model:2"),
        LayoutRules.parse("experts:data,d_ff:model"),
    )
    count = models.count(config)
    step = walk(config, Batch(2, helpers.lengths(config)))
    parts = {"/experts/": 8, "/mlp/w": 2}
    expected = sum(
        4 * w.total // next((n for p, n in parts.items() if p in w.path), 1)
        for w in count.weights
    )
    found = memory(count, keras.optimizers.Adam(), step, split, "float32")
    assert found.weights == expected
    assert found.slots == 2 * expected
    assert found.copies == 0


def test_factored_slots_of_experts_lie_where_their_experts_lie():
    config = helpers_models.tiny(sparse=models.Sparse(8))
    split = Layout(MeshShape.parse("data:4"), LayoutRules.parse("experts:data"))
    wi = next(w for w in models.count(config).weights if "/experts/wi" in w.path)
    planned = slots(models.Count((wi,)), training.Adafactor())
    assert [(t.shape, split.bytes(t)) for t in planned] == [
        ((8, 16), 2 * 16 * 4),  # rows: d_model of each expert
        ((8, 24), 2 * 24 * 4),  # columns: d_ff of each expert
    ]


def test_rematerialization_keeps_the_inputs_of_blocks_and_one_block():
    config = helpers_models.tiny(sparse=None, architecture="encoder-only")
    step = walk(config, Batch(2, {"inputs": 12}))
    inside = [s.tensor.bytes for s in step.saved if s.in_block]
    outside = [s.tensor.bytes for s in step.saved if not s.in_block]
    stream = 2 * 12 * 16 * 4
    assert activations(step, ALONE, remat=False) == 2 * sum(inside) + sum(outside)
    assert activations(step, ALONE, remat=True) == (
        2 * stream + sum(inside) + sum(outside)
    )


def test_a_config_with_remat_plans_with_it():
    step = walk(
        dataclasses.replace(CONFIG, remat=True), Batch(2, helpers.lengths(CONFIG))
    )
    found = memory(models.count(CONFIG), training.Adafactor(), step, ALONE, "float32")
    assert found.activations == found.with_remat < found.without_remat


def test_the_batch_divides_the_activations():
    step = walk(CONFIG, Batch(8, helpers.lengths(CONFIG)))
    split = Layout(MeshShape.parse("data:8"), LayoutRules.parse("batch:data"))
    assert activations(step, split, False) * 8 == activations(step, ALONE, False)
