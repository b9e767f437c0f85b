"""Weights of T5X (its minimal T5, and flaxformer's MoE models) by their names.

Plain models number their layers. Scanned ones stack the layers of a kind along axis 1:
all of them in dense models, every `step`-th in sparse ones, under `subblock_{j}`. Each
scanned layer has a relative bias of its own; here a stack has one.
"""

import re

from keras_switch.convert.table import Row, Table

_ATTENTION = {"query": "query", "key": "key", "value": "value", "output": "out"}
_OWN = {"encoder": "attention", "decoder": "self_attention"}


def subblocks(names) -> dict[str, int]:
    """Returns how many kinds of layers each scanned stack has; 0 if it is not scanned.

    Args:
        names: of all tensors.
    """
    found = {}
    for stack in _OWN:
        scanned = [name for name in names if name.startswith(f"{stack}/{stack}/")]
        numbers = {
            int(match[1])
            for name in scanned
            if (match := re.match(r"\w+/\w+/subblock_(\d+)/", name))
        }
        found[stack] = max(numbers) + 1 if numbers else int(bool(scanned))
    return found


def table(kinds: dict[str, int], in_subblocks: bool = False) -> Table:
    """Returns the names of a model.

    Args:
        kinds: kinds of layers of each scanned stack; 0 for a plain one.
        in_subblocks: whether names of scanned stacks have a `subblock_{j}`.
    """

    def scopes(stack, i):
        own = {"own": _OWN[stack]}
        if not kinds[stack]:
            return {"block": f"{stack}/layers_{i}", **own}
        at, kind = divmod(i, kinds[stack])
        inner = f"/subblock_{kind}" if in_subblocks else ""
        return {"block": f"{stack}/{stack}{inner}", "layer": at, **own}

    return Table("T5X", rows=tuple(_rows(kinds, in_subblocks)), scopes=scopes)


def repeated_biases(kinds: dict[str, int], in_subblocks: bool) -> dict[str, list[str]]:
    """Returns, by stack, the tensors that must hold one and the same relative bias."""
    inner = "/subblock_{}" if in_subblocks else ""
    bias = f"{inner}/relpos_bias/rel_embedding"
    return {
        stack: [f"{stack}/{stack}{bias.format(j)}" for j in range(number)]
        for stack, number in kinds.items()
        if number
    }


def _rows(kinds, in_subblocks):
    yield Row("token_embedding/embedding", "token_embedder/embedding")
    yield Row("token_embedding/logits", "decoder/logits_dense/kernel")
    yield Row("{stack}/final_norm/scale", "{stack}/{stack}_norm/scale")
    for stack, names in repeated_biases(kinds, in_subblocks).items():
        yield Row(f"{stack}/relative_bias/embedding", names[0])
    yield Row("{stack}/relative_bias/embedding", "{stack}/relpos_bias/rel_embedding")
    block = "{stack}/block_{i}"
    yield Row(f"{block}/mixer_norm/scale", "{block}/pre_{own}_layer_norm/scale")
    yield Row(
        f"{block}/cross_norm/scale", "{block}/pre_cross_attention_layer_norm/scale"
    )
    yield Row(f"{block}/mlp_norm/scale", "{block}/pre_mlp_layer_norm/scale")
    yield Row(f"{block}_extra/mlp_norm/scale", "{block}/pre_extra_mlp_layer_norm/scale")
    for ours, theirs in _ATTENTION.items():
        yield Row(f"{block}/mixer/{ours}", f"{{block}}/{{own}}/{theirs}/kernel")
        cross = f"{{block}}/encoder_decoder_attention/{theirs}/kernel"
        yield Row(f"{block}/cross/{ours}", cross)
    sparse = f"{block}/{{stack}}_{{i}}"
    for kernel in ("wi", "wi_0", "wi_1", "wo"):
        yield Row(f"{block}/mlp/{kernel}", f"{{block}}/mlp/{kernel}/kernel")
        yield Row(f"{block}_extra/mlp/{kernel}", f"{{block}}/extra_mlp/{kernel}/kernel")
        expert = f"{{block}}/mlp/expert/{kernel}/kernel"
        yield Row(f"{sparse}/experts/{kernel}", expert)
    router = "{block}/mlp/router/router_weights/w"
    yield Row(f"{sparse}/router/kernel", f"{router}/kernel")
    yield Row(f"{sparse}/router/bias", f"{router}/bias")
