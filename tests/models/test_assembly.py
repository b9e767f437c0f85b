"""Every number of a config arrives at the layers that it is meant for."""

import helpers_models as helpers
import pytest

from keras_switch import layers, models
from keras_switch.dispatch import DroplessDispatch, EinsumDispatch, FixedGroups
from keras_switch.models import assembly


@pytest.fixture(scope="module")
def stacks():
    config = helpers.tiny(
        num_layers=2,
        dropout_rate=0.2,
        layer_norm_epsilon=1e-3,
        init_scale=0.3,
        remat=True,
        position=models.RotaryPosition(500.0),
        num_kv_heads=2,
        sparse=models.Sparse(
            num_experts=4,
            dispatch=EinsumDispatch(),
            eval_dispatch=DroplessDispatch(2),
            groups=FixedGroups(6),
            expert_dropout_rate=0.4,
            router=models.RouterOptions(init_scale=0.7),
            extra_mlp=models.PlainMlp(),
        ),
    )
    return [assembly.stack(config, name) for name in config.stacks]


def parts(stacks, kind):
    found = [
        part
        for stack in stacks
        for part in stack._flatten_layers()
        if type(part) is kind
    ]
    assert found
    return found


def test_dropout(stacks):
    kinds = (layers.Attention, layers.FeedForward, layers.Block, layers.CrossBlock)
    for kind in (layers.Stack, layers.MlpBlock, *kinds):
        assert {part.dropout_rate for part in parts(stacks, kind)} == {0.2}, kind
    experts = parts(stacks, layers.Experts)
    assert {part.expert_dropout_rate for part in experts} == {0.4}


def test_epsilon_of_every_norm(stacks):
    assert {norm.epsilon for norm in parts(stacks, layers.RMSNorm)} == {1e-3}


def test_scales_of_initializers(stacks):
    for kind in (layers.FeedForward, layers.Experts):
        assert {part.init_scale for part in parts(stacks, kind)} == {0.3}, kind
    assert {part.init_scale for part in parts(stacks, layers.Router)} == {0.7}


def test_attention(stacks):
    encoder = stacks[0].blocks[0].mixer
    assert encoder.num_kv_heads == 2
    assert encoder.rotary.max_wavelength == 500.0
    assert encoder.logit_scale == helpers.TINY.d_kv**-0.5
    assert stacks[1].blocks[0].cross.rotary is None
    assert [stack.causal for stack in stacks] == [False, True]


def test_how_tokens_travel(stacks):
    for layer in parts(stacks, layers.SwitchFeedForward):
        assert layer.dispatch == EinsumDispatch()
        assert layer.eval_dispatch == DroplessDispatch(2)
        assert layer.groups == FixedGroups(6)


def test_remat(stacks):
    assert all(stack.remat for stack in stacks)
