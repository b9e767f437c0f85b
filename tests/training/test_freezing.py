import keras
import numpy as np
import pytest
from helpers_models import TINY_SPARSE, inputs, tiny

from keras_switch import models, training
from keras_switch.training import Frozen, Trainable


def model():
    keras.utils.set_random_seed(0)
    config = tiny(sparse=TINY_SPARSE, architecture="decoder-only")
    return models.SwitchCausalLM(models.SwitchBackbone(config))


def batch():
    given = inputs(tiny(architecture="decoder-only"), length=4)
    targets = given["token_ids"]
    return given, targets, np.ones(targets.shape, "float32")


@pytest.mark.parametrize(
    ("choice", "trained"),
    [
        (Frozen(parts=["experts"]), lambda path: "/experts/" not in path),
        (Frozen(parts=["experts", "router"]), lambda path: "decoder_" not in path),
        (Trainable(only=["router"]), lambda path: path.endswith("router/kernel")),
        (
            Trainable(only=["decoder/block_0", "*norm"]),
            lambda path: path.startswith("decoder/block_0/") or "norm/" in path,
        ),
    ],
)
def test_a_choice_trains_the_weights_that_it_names(choice, trained):
    made = model()
    chosen = choice.apply(made)
    wanted = {v.path for v in made.weights if trained(v.path)}
    assert wanted == set(chosen.trained) == {v.path for v in made.trainable_weights}
    assert chosen.parameters[0] == sum(
        int(np.prod(v.shape)) for v in made.trainable_weights
    )
    assert f"trains {len(wanted)} of {len(made.weights)} weights" in str(chosen)


def test_frozen_weights_stay_and_have_no_slots():
    made = model()
    Trainable(only=["router"]).apply(made)
    before = {v.path: v.numpy() for v in made.weights}
    optimizer = training.Adafactor(0.1, beta_1=0.9)
    step = training.TrainStep(made, optimizer, training.TokenCrossEntropy())
    step(batch())
    for variable in made.weights:
        moved = not np.array_equal(variable.numpy(), before[variable.path])
        assert moved == ("/router/" in variable.path), variable.path
    slots = [v.path for v in optimizer.variables if "decoder" in v.path]
    assert len(slots) == 2  # second moments and momentum of one small kernel
    assert all("router" in path for path in slots)


def test_plain_fit_trains_the_same_weights():
    made = model()
    Frozen(parts=["decoder"]).apply(made)
    made.compile("sgd")
    before = [v.numpy() for v in made.weights]
    made.train_on_batch(*batch())
    moved = [
        v.path
        for v, old in zip(made.weights, before, strict=True)
        if not np.array_equal(v.numpy(), old)
    ]
    assert moved == ["token_embedding/embedding"]


def test_frozen_keeps_what_was_frozen_before():
    made = model()
    made.backbone.enable_lora(2, targets=("query",))
    chosen = Frozen(parts=["block_0"]).apply(made)
    assert all("block_1" in p and "_lora_" in p for p in chosen.trained)


def test_a_mistake_is_told_with_what_is_near():
    made = model()
    with pytest.raises(ValueError, match=r"'expert' matches no weight.*'experts'"):
        Frozen(parts=["expert"]).apply(made)
    path = "decoder/blok_1/mixer"
    with pytest.raises(ValueError, match=r"nearest: 'decoder/block_1/mixer"):
        Trainable(only=["router", path]).apply(made)
    with pytest.raises(ValueError, match="leaves no weight"):
        Frozen(parts=["*"]).apply(made)
    with pytest.raises(ValueError, match="Trainable got 'router': give a list"):
        Trainable(only="router")
    with pytest.raises(ValueError, match=r"Frozen got \[\]: give a list"):
        Frozen(parts=[])


def test_it_is_too_late_once_there_are_slots_and_too_early_without_weights():
    made = model()
    made.compile("adam")
    made.optimizer.build(made.trainable_variables)
    with pytest.raises(ValueError, match="before `compile`"):
        Frozen(parts=["experts"]).apply(made)
    with pytest.raises(ValueError, match="no weights yet"):
        Frozen(parts=["experts"]).apply(keras.Sequential([keras.layers.Dense(2)]))
    other = model()
    other.trainable = False
    with pytest.raises(ValueError, match="All weights of the model"):
        training.TrainStep(other, keras.optimizers.SGD(), training.TokenCrossEntropy())
