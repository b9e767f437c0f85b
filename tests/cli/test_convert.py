"""`keras-switch convert`, `upcycle` and `prune-experts` as a user types them."""

import dataclasses
import json
import pathlib
import re

import helpers_cli_tasks
import helpers_models
import numpy as np
import pytest

from keras_switch import convert, data, models
from keras_switch.cli.__main__ import main
from keras_switch.cli.convert import prune_experts
from keras_switch.routing import CapacityFactor, Switch

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "hf"
TOY = (
    "--gin.MODULES=['helpers_cli_tasks']",
    "--gin.TASK=toy_copy",
    "--gin.LENGTHS={'inputs': 16, 'targets': 16}",
    "--batch_size=4",
)


def test_a_checkpoint_goes_in_and_out_unchanged(tmp_path, capsys):
    preset, out = tmp_path / "preset", tmp_path / "out"
    source = GOLDEN / "switch_tied"
    assert main(["convert", f"--source={source}", f"--target={preset}"]) == 0
    printed = capsys.readouterr()
    assert "93 weights (0.5 MB)" in printed.out and "do not chat" in printed.out
    assert "MB/s" in printed.err
    back = "--target_format=hugging_face"
    assert main(["convert", f"--source={preset}", f"--target={out}", back]) == 0
    assert f"Writing {out} 0." in capsys.readouterr().err
    first = models.SwitchSeq2SeqLM.from_preset(source)
    second = models.SwitchSeq2SeqLM.from_preset(out)
    assert convert.checksums(first) == convert.checksums(second)
    assert json.loads((out / "config.json").read_text())["num_experts"] == 4
    # What is there stays; the mistake is told before anything is read.
    assert main(["convert", f"--source={source}", f"--target={out}"]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source=nowhere", "--target=x"), "in no known format"),
        (("--source=nowhere", "--target=x", "--target_format=hf"), "no format 'hf'"),
        (("--target=x",), "SOURCE"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(arguments, message, capsys, tmp_path):
    assert main(["convert", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_dense_checkpoint_is_upcycled(tmp_path, capsys):
    target = tmp_path / "sparse"
    arguments = (f"--source={GOLDEN / 't5_v11'}", f"--target={target}")
    assert main(["upcycle", *arguments, "--num_experts=3"]) == 0
    config = models.SwitchSeq2SeqLM.from_preset(target).backbone.config
    assert config.sparse.num_experts == 3 and config.sparse.routing.renormalize
    assert "parameters after" in capsys.readouterr().out


def test_experts_are_pruned_and_the_loss_of_it_is_told(tmp_path, capsys):
    config = helpers_models.tiny(vocab_size=384)
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    helpers_models.scatter(model)
    model.save_to_preset(str(tmp_path / "all"))
    target = tmp_path / "fewer"
    arguments = (f"--source={tmp_path / 'all'}", f"--target={target}", *TOY)
    more = ("--num_experts=2", "--gin.METHOD=@MergeSimilar()", "--gin.EVAL_STEPS=1")
    assert main(["prune-experts", *arguments, *more]) == 0
    printed = capsys.readouterr().out
    assert "loss before" in printed and "tokens whose expert stays" in printed
    found = models.SwitchSeq2SeqLM.from_preset(target).backbone.config
    assert found.sparse.num_experts == 2


# Nothing is dropped, with four experts or with two.
ROOMY = models.Sparse(
    4,
    placement=models.AllLayers(),
    routing=Switch(capacity=CapacityFactor(eval=4.0, minimum=16)),
)
PHRASES = data.DataConfig(
    "toy_copy",
    {"inputs": 16, "targets": 16},
    batch_size=len(helpers_cli_tasks.PHRASES) - 24,  # the first 24 are for training
    split="validation",
    shuffle=False,
    num_epochs=1,
)
STACKS = {"encoder": "encoder_padding_mask", "decoder": "decoder_padding_mask"}


@pytest.fixture(scope="module")
def four_experts(tmp_path_factory):
    """Returns a preset, its weights, its only batch, and each layer's load by hand."""
    config = helpers_models.tiny(vocab_size=384, num_layers=1, sparse=ROOMY)
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    helpers_models.scatter(model)
    folder = tmp_path_factory.mktemp("pruning") / "all"
    model.save_to_preset(str(folder))
    (batch,) = data.batches(PHRASES, config)
    with models.recorded_assignments(model) as routes:
        model(batch[0])
    load = {}
    for stack, mask in STACKS.items():
        chosen = np.asarray(routes[f"{stack}_0"].logits).argmax(-1)  # (B, L)
        count = [(chosen[np.array(batch[0][mask]) > 0] == e).sum() for e in range(4)]
        load[stack] = np.array(count) / sum(count)
    return folder, model, batch, load


def loss_of(model, batch):
    inputs, targets, weights = batch
    logits = model(inputs)
    total = helpers_models.cross_entropy(logits, targets, weights)
    return float(total) / float(np.sum(weights))


def kept_by_hand(model, load):
    """Returns the two busiest experts' own weights, by stack."""
    found = {}
    for stack in STACKS:
        first, second = sorted(sorted(range(4), key=lambda e: -load[stack][e])[:2])
        found[stack] = [{first: 1.0}, {second: 1.0}]
    return found


def merged_by_hand(model, load):
    """Returns what each new expert is made of, by stack."""
    weights = {w.path: np.array(w) for w in model.weights}
    found = kept_by_hand(model, load)
    for stack, parts in found.items():
        router = weights[f"{stack}/block_0/{stack}_0/router/kernel"]
        unit = [router[:, e] / np.sqrt((router[:, e] ** 2).sum()) for e in range(4)]
        heads = [next(iter(part)) for part in parts]
        for e in set(range(4)) - set(heads):
            near = max(range(2), key=lambda n: unit[heads[n]] @ unit[e])
            parts[near][e] = 1.0
        for n, part in enumerate(parts):
            total = sum(load[stack][e] for e in part)
            parts[n] = {e: load[stack][e] / total for e in part}
    return found


@pytest.mark.parametrize(
    ("method", "by_hand"),
    [(convert.KeepUsed(), kept_by_hand), (convert.MergeSimilar(), merged_by_hand)],
    ids=["keep", "merge"],
)
def test_pruned_experts_and_both_losses_are_those_found_by_hand(
    four_experts, method, by_hand, tmp_path, capsys
):
    source, model, batch, load = four_experts
    found = prune_experts(str(source), str(tmp_path / "two"), PHRASES, 2, method)
    parts = by_hand(model, load)
    assert len({frozenset(part) for part in parts["encoder"]}) == 2
    old = {w.path: np.array(w) for w in model.weights}
    sparse = dataclasses.replace(ROOMY, num_experts=2)
    config = dataclasses.replace(model.backbone.config, sparse=sparse)
    wanted = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    for weight in wanted.weights:
        value = old[weight.path]
        stack = weight.path.split("/")[0]
        if "/experts/" in weight.path:
            value = [sum(s * value[e] for e, s in p.items()) for p in parts[stack]]
        elif weight.path.endswith("/router/kernel"):
            value = value[:, [next(iter(part)) for part in parts[stack]]]
        weight.assign(np.asarray(value))
    written = models.SwitchSeq2SeqLM.from_preset(tmp_path / "two")
    for ours, theirs in zip(written.weights, wanted.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=theirs.path)
    before, after = loss_of(model, batch), loss_of(wanted, batch)
    assert abs(before - after) > 1e-3
    assert found["loss_before"] == pytest.approx(before, rel=1e-5)
    assert found["loss_after"] == pytest.approx(after, rel=1e-5)
    kept = np.mean(
        [sorted(load[stack])[-1] + sorted(load[stack])[-2] for stack in load]
    )
    assert found["kept_share"] == pytest.approx(kept)
    printed = capsys.readouterr().out
    for row in (
        rf"loss before +{before:.4f}",
        rf"loss after +{after:.4f}",
        rf"expert stays +{kept:.1%}",
    ):
        assert re.search(row, printed), printed
