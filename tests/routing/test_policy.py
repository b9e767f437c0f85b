"""What holds for every policy."""

import helpers_routing as helpers
import keras
import numpy as np
import pytest
from helpers_routing import numpy
from keras import ops

from keras_switch import routing

G, S, E = 2, 10, 4
LOGITS = np.random.default_rng(7).normal(size=(G, S, E))
MASK = np.arange(S) < np.array([[S], [6]])
SEED = keras.random.SeedGenerator(0)
every_policy = pytest.mark.parametrize("policy", helpers.POLICIES, ids=helpers.name)
masking = [p for p in helpers.POLICIES if p.padding == "masked"]


@every_policy
def test_survives_its_config_and_keras(policy):
    assert type(policy).from_config(policy.get_config()) == policy
    saved = keras.saving.serialize_keras_object(policy)
    assert saved["registered_name"] == f"keras_switch>{type(policy).__name__}"
    assert keras.saving.deserialize_keras_object(saved) == policy


@every_policy
def test_is_a_value_that_cannot_be_changed(policy):
    assert hash(policy) == hash(type(policy).from_config(policy.get_config()))
    with pytest.raises(AttributeError):
        policy.padding = "flaxformer"


@pytest.mark.parity
@every_policy
@pytest.mark.parametrize("training", [False, True])
def test_assignments_have_the_promised_shapes_and_types(policy, training):
    found = helpers.assign(policy, LOGITS, MASK, capacity=3, training=training)
    choices = found.expert.shape[-1]
    for name in ("expert", "place"):
        tensor = numpy(getattr(found, name))
        assert (tensor.shape, tensor.dtype) == ((G, S, choices), "int32"), name
    assert numpy(found.gate).shape == (G, S, choices)
    for name in ("logits", "probs", "gate"):
        assert keras.backend.standardize_dtype(getattr(found, name).dtype) == "float32"
    assert (numpy(found.expert) >= 0).all() and (numpy(found.expert) < E).all()
    assert (found.num_experts, found.capacity) == (E, 3)
    for name, loss in policy.losses(found, training).items():
        assert numpy(loss).dtype == "float32" and numpy(loss).shape == (), name


@pytest.mark.parity
@pytest.mark.parametrize("policy", masking, ids=helpers.name)
def test_padding_changes_no_real_token_and_no_loss(policy):
    if isinstance(policy, routing.GShardTop2) and "Random" in repr(policy):
        policy = routing.GShardTop2(second_policy=routing.ThresholdSeconds())
    bare = helpers.assign(policy, LOGITS, capacity=3)
    junk = np.random.default_rng(8).normal(size=(G + 1, S + 5, E)) * 30
    junk[:G, :S] = LOGITS
    mask = np.zeros(junk.shape[:2], bool)
    mask[:G, :S] = True
    padded = helpers.assign(policy, junk, mask, capacity=3)
    for name in ("expert", "place", "gate"):
        expected = numpy(getattr(bare, name))
        found = numpy(getattr(padded, name))[:G, :S]
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)
    assert not numpy(padded.kept)[~mask].any()
    assert not numpy(padded.gate)[~mask].any()
    expected = policy.losses(bare)
    for name, loss in policy.losses(padded).items():
        np.testing.assert_allclose(
            numpy(loss), numpy(expected[name]), rtol=1e-5, err_msg=name
        )
    for name, value in routing.metrics(padded).items():
        if name != "usage":
            expected = numpy(routing.metrics(bare)[name])
            np.testing.assert_allclose(numpy(value), expected, atol=1e-6, err_msg=name)


@pytest.mark.parity
@every_policy
def test_a_batch_of_padding_only_gives_finite_losses(policy):
    found = helpers.assign(policy, LOGITS, np.zeros((G, S), bool), capacity=3)
    for name, loss in policy.losses(found).items():
        assert np.isfinite(numpy(loss)), name


def outcome(policy, logits, training):
    """Everything that a layer takes from an assignment."""
    groups = ops.shape(logits)[0]
    ids = ops.broadcast_to(ops.arange(S, dtype="int32"), (groups, S))
    with keras.StatelessScope():  # there, seeds may step inside a compiled function
        found = policy.assign(
            logits,
            ops.ones((groups, S), "bool"),
            capacity=3,
            training=training,
            seed=SEED,
            token_ids=ids,
        )
    loss = sum(policy.losses(found, training).values(), ops.sum(found.gate))
    return found.expert, found.place, found.slots().source, loss


@pytest.mark.parity
@every_policy
def test_traces_in_training_with_any_number_of_groups(policy):
    shapes = helpers.traced_shapes(lambda x: outcome(policy, x, True), (None, S, E))
    choices = shapes[0][-1]
    expected = [(S, choices), (S, choices), (E, 3), ()]
    assert [shape[1:] for shape in shapes] == expected


COMPILED = [helpers.POLICIES[i] for i in (1, 6, 7, 11)]


@pytest.mark.parity
def test_compiled_by_xla_it_decides_the_same():
    def everything(logits):
        return [outcome(policy, logits, False) for policy in COMPILED]

    logits = LOGITS.astype("float32")
    compiled, eager = helpers.jit(everything)(logits), everything(logits)
    for policy, ours, theirs in zip(COMPILED, compiled, eager, strict=True):
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(
                numpy(x), numpy(y), atol=1e-5, err_msg=helpers.name(policy)
            )


@pytest.mark.parity
@every_policy
def test_the_router_sees_float32_whatever_comes(policy):
    x = keras.ops.ones((1, 3, 5), dtype="bfloat16")
    found = policy.perturb(x, training=True, seed=keras.random.SeedGenerator(0))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"


def test_tells_apart_logits_that_bfloat16_cannot():
    assert ops.cast(1.001, "bfloat16") == ops.cast(1.0, "bfloat16")
    found = helpers.assign(routing.Switch(), np.tile([1.0, 1.001], (1, 4, 1)))
    assert (numpy(found.expert) == 1).all()
    assert (numpy(found.gate) > 0.5).all()


@every_policy
def test_refuses_logits_that_are_not_in_groups(policy):
    with pytest.raises(ValueError, match=r"\(10, 4\).*groups, tokens, experts.*Split"):
        helpers.assign(policy, LOGITS[0])


@every_policy
@pytest.mark.parametrize("shape", [(S,), (G, S + 1), (G, S, E)])
def test_refuses_a_mask_of_another_shape(policy, shape):
    with pytest.raises(ValueError, match=r"mask of shape.*one entry per token.*2, 10"):
        helpers.assign(policy, LOGITS, np.ones(shape, bool))


@pytest.mark.parametrize(
    "policy",
    [routing.TopK(5), routing.GShardTopN(5), routing.NoTokenLeftBehind(5)],
    ids=helpers.name,
)
def test_refuses_more_choices_than_experts(policy):
    with pytest.raises(ValueError, match=r"k=5 experts.*only 4.*Lower k"):
        helpers.assign(policy, LOGITS)


def test_only_experts_that_choose_are_barred_from_causal_decoders():
    for policy in helpers.POLICIES:
        if isinstance(policy, routing.ExpertChoice | routing.ExpertSelection):
            with pytest.raises(ValueError, match=r"later tokens.*Use Switch\(\)"):
                policy.require_causal()
        else:
            policy.require_causal()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: routing.Switch(padding="mtf"), "padding='mtf'.*masked.*mesh_tensor"),
        (lambda: routing.ExpertSelection(padding="flaxformer"), "padding='flaxformer'"),
        (lambda: routing.Switch(priority="random"), "priority='random'.*'position'"),
        (lambda: routing.Switch(balance_loss_weight=-1), "balance_loss_weight=-1"),
        (lambda: routing.Switch(z_loss_weight=-1), "z_loss_weight=-1"),
        (lambda: routing.Switch(importance_loss_weight=-1), "importance_loss_weight"),
        (lambda: routing.ExpertSelection(balance_loss_weight=-1), "balance_loss_weig"),
        (lambda: routing.TopK(0), "k=0.*at least 1"),
        (lambda: routing.TopK(2, balance_over="top"), "balance_over='top'.*'first'"),
        (lambda: routing.GShardTopN(0), "k=0.*at least 1"),
        (lambda: routing.NoTokenLeftBehind(0), "k=0.*at least 1"),
        (lambda: routing.GShardTop2(second_place_loss_weight=-1), "second_place_loss"),
        (lambda: routing.ThresholdSeconds(-1), "threshold=-1.*at least 0"),
        (lambda: routing.RandomSeconds(-1), "threshold=-1.*at least 0"),
        (lambda: routing.TopK(1, load_loss_weight=1), r"load_loss.*LogitNoise\(\)"),
        (lambda: routing.Soft(exploration=routing.Sample()), "do not pick experts"),
        (
            lambda: routing.ExpertChoice(exploration=routing.Sample()),
            "do not pick experts",
        ),
    ],
)
def test_refuses_options_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()
