"""Collectives by layout: what DTensor was seen to lower one MoE layer to, by hand."""

import collections
import dataclasses

import helpers_models
import pytest

from keras_switch import models
from keras_switch.partitioning import LayoutRules, MeshShape
from keras_switch.planning import Batch, Layout, collectives, walk
from keras_switch.planning.operations import Move, Product, Step, Tensor

CONFIG = dataclasses.replace(
    helpers_models.TINY,
    architecture="decoder-only",
    d_ff=32,
    position=None,
    num_layers=1,
    sparse=models.Sparse(8, placement=models.AllLayers()),
)


def layout(mesh, rules):
    return Layout(MeshShape.parse(mesh), LayoutRules.parse(rules))


def messages(mesh, rules, config=CONFIG, part="", dtype="float32", size=8):
    step = walk(config, Batch(size, {"targets": 12}), dtype)
    return [m for m in collectives(step, layout(mesh, rules)) if part in m.name]


def counted(found, phase=None):
    counts = collections.Counter()
    for each in found:
        if phase in (None, each.phase):
            counts[each.kind] += each.times
    return dict(counts)


@pytest.mark.parametrize(
    ("mesh", "rules", "expected"),
    [
        ("data:8", "batch:data,experts:data", {"all-to-all": 4, "all-reduce": 2}),
        (
            "data:4,model:2",
            "batch:data,experts:data,d_ff:model",
            {"all-to-all": 4, "all-reduce": 4},
        ),
        (
            "data:2,expert:4",
            "batch:data,experts:expert",
            {"all-gather": 2, "all-reduce": 4},
        ),
        ("data:8", "batch:data", {"all-reduce": 4}),
        ("data:8", "", {}),
    ],
)
def test_a_sparse_layer_sends_what_dtensor_was_seen_to_send(mesh, rules, expected):
    rules = LayoutRules.parse(rules) if rules else LayoutRules()
    # Two of the all-reduces are the router's gradient and the load of the experts.
    assert counted(messages(mesh, rules, part="/mlp/")) == expected


def test_two_all_to_alls_go_forward_and_two_back_in_the_compute_dtype():
    found = messages(
        "data:8", "batch:data,experts:data", part="/mlp/", dtype="bfloat16"
    )
    exchanges = [m for m in found if m.kind == "all-to-all"]
    assert collections.Counter(m.phase for m in exchanges) == {
        "forward": 2,
        "backward": 2,
    }
    # 8 groups of 12 tokens, 8 experts of 4 rows, D=16, on each of 8 devices one group.
    assert {(m.bytes, m.dtype) for m in exchanges} == {(8 * 4 * 16 * 2, "bfloat16")}


def test_a_dense_layer_on_two_axes_is_megatrons():
    config = dataclasses.replace(CONFIG, sparse=None)
    found = messages("data:4,model:2", "batch:data,d_ff:model", config, "/mlp/")
    # Each device: 2 sequences of 12 tokens, half of d_ff.
    assert [(m.kind, m.axis, m.phase, m.bytes, m.weight) for m in found] == [
        ("all-reduce", "model", "backward", 2 * 12 * 16 * 4, False),
        ("all-reduce", "data", "backward", 16 * 16 * 4, True),
        ("all-reduce", "model", "forward", 2 * 12 * 16 * 4, False),
        ("all-reduce", "data", "backward", 16 * 16 * 4, True),
    ]


def test_heads_in_parts_reduce_once_forward_and_once_back_for_all_projections():
    config = dataclasses.replace(CONFIG, sparse=None)
    found = messages("model:4", "heads:model", config, "/mixer/")
    assert counted(found, "forward") == {"all-reduce": 1}
    assert counted(found, "backward") == {"all-reduce": 1}


def test_what_all_blocks_read_is_reduced_once_for_all():
    config = dataclasses.replace(
        CONFIG, architecture="encoder-decoder", sparse=None, num_layers=3
    )
    step = walk(config, Batch(8, {"inputs": 12, "targets": 8}))
    found = collectives(step, layout("model:4", "heads:model"))
    back = [m for m in found if m.phase == "backward" and "decoder" in m.name]
    # Inputs of attention, of queries across, and the encoder's output.
    assert [(m.times, m.bytes) for m in back] == [
        (3, 8 * 8 * 16 * 4),
        (3, 8 * 8 * 16 * 4),
        (1, 8 * 12 * 16 * 4),
    ]


def test_a_gated_layer_and_its_parallel_attention_reduce_one_gradient():
    config = dataclasses.replace(
        CONFIG, sparse=None, block=models.Parallel(), mlp=models.GatedMlp()
    )
    found = messages("model:4", "heads:model,d_ff:model", config, "block")
    assert counted(found, "backward") == {"all-reduce": 1}
    config = dataclasses.replace(config, block=models.Serial())
    found = messages("model:4", "heads:model,d_ff:model", config, "block")
    assert counted(found, "backward") == {"all-reduce": 2}


def test_keys_that_heads_share_sum_their_gradients_over_the_heads():
    config = dataclasses.replace(CONFIG, sparse=None, num_kv_heads=1)
    found = messages("model:4", "heads:model", config, "/mixer/")
    shared = [m for m in found if m.name.endswith(("scores", "mix"))]
    assert [(m.kind, m.phase) for m in shared] == 2 * [("all-reduce", "backward")]
    assert {m.bytes for m in shared} == {8 * 12 * 1 * 4 * 4}


def test_fully_sharded_weights_are_gathered_and_their_gradients_scattered():
    config = dataclasses.replace(CONFIG, sparse=None)
    found = messages("data:8", "batch:data,d_model:data", config, "/mlp/")
    assert counted(found) == {"all-gather": 2, "all-reduce": 2}
    assert {m.bytes for m in found} == {16 * 32 * 4}


def test_rows_of_a_table_in_parts_by_width_go_where_their_sequences_are():
    found = messages("data:8", "batch:data,d_model:data", part="decoder/embedding")
    assert [(m.kind, m.phase, m.bytes, m.dtype) for m in found] == [
        ("all-gather", "forward", 8 * 12 * 8, "int64"),
        ("all-to-all", "forward", 12 * 16 * 4, "float32"),
        ("all-gather", "backward", 8 * 12 * 8, "int64"),
        ("all-to-all", "backward", 12 * 16 * 4, "float32"),
    ]


def test_a_position_bias_sums_its_gradient_over_the_batch_once_for_all_blocks():
    config = dataclasses.replace(
        CONFIG, sparse=None, num_layers=3, position=models.RelativePosition(8, 20)
    )
    (found,) = messages("data:8", "batch:data", config, "mixer/bias")
    assert (found.times, found.bytes) == (1, 4 * 12 * 12 * 4)


def test_a_split_vocabulary_reduces_look_ups_logits_and_the_loss():
    found = messages("model:8", "vocab:model")
    places = collections.Counter()
    for each in found:
        places[each.name, each.phase] += each.times
    assert places == {
        ("decoder/embedding", "forward"): 1,
        ("token_embedding/logits", "backward"): 1,
        ("loss", "forward"): 3,
    }


def test_rematerialized_blocks_send_their_forward_messages_again():
    rules = "data:4,model:2", "batch:data,experts:data,d_ff:model,vocab:model"
    plain = messages(*rules)
    again = messages(*rules, dataclasses.replace(CONFIG, remat=True))
    more = [m for m in again if m.phase == "recomputed forward"]
    inside = [m for m in plain if m.phase == "forward" and "block" in m.name]
    assert len(more) == len(inside) == len(again) - len(plain)
    assert {m.name for m in more} == {m.name for m in inside}


def test_one_device_sends_nothing():
    rules = "batch:data,experts:data,d_ff:data,vocab:data"
    assert messages("data:1", rules) == []


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("all-reduce", 1.5), ("all-gather", 0.75), ("all-to-all", 0.75)],
)
def test_a_device_sends_its_share_of_the_bytes(kind, sent):
    (each, *_) = messages("data:8", "batch:data")
    each = dataclasses.replace(each, kind=kind, size=4, bytes=1000)
    assert each.sent == 1000 * sent


def test_a_move_within_a_device_is_free():
    rows = Tensor(("experts", "batch"), (8, 8), "float32")
    home = Tensor(("experts_unsplit", "batch"), (8, 8), "float32")
    step = Step((Move("there", home, rows),), ())
    assert collectives(step, layout("data:8", "batch:data")) == ()


def test_every_product_of_a_step_is_looked_at():
    # All operations by name: none hides behind another of the same name.
    step = walk(helpers_models.tiny(), Batch(2, {"inputs": 12, "targets": 8}))
    names = [op.name for op in step.operations if isinstance(op, Product | Move)]
    assert len(names) == len(set(names))
