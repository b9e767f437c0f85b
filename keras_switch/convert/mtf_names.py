"""Weights of Mesh TensorFlow's transformers by their names.

`{stack}/block_{b}/layer_{n}` counts attention, cross attention and MLPs one by one; how
many of them make a block is up to each model, and so is which MLPs hold experts. So
the numbering is read off the checkpoint, never assumed.
"""

import dataclasses
import re

from keras_switch.convert.errors import ConversionError
from keras_switch.convert.table import Row, Table

_LAYER = re.compile(
    r"(?P<scope>(?P<stack>encoder|decoder)/(?P<place>(?:block_\d+/)?layer_\d+))/"
    r"(?P<kind>[^/]+)(?:/(?P<rest>.+))?"
)
_NORMS = ("layer_norm", "rms_norm")
_KINDS = {
    "SelfAttention": "mixer",
    "EncDecAttention": "cross",
    "DenseReluDense": "mlp",
    "MoE1D": "sparse",
}
_ORDER = {"encoder": ("mixer", "mlp"), "decoder": ("mixer", "cross", "mlp")}
IGNORED = (r".*_slot_[a-z]+", "global_step", r".*/?Adafactor.*")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the sublayers of a checkpoint make blocks.

    Args:
        scopes: by stack, the scopes of the sublayers of each block.
        sparse: by stack, the numbers of the blocks with experts.
        norm: scope of the norm inside a sublayer.
        gating: scope of the router's weights.
    """

    scopes: dict[str, list[dict[str, str]]]
    sparse: dict[str, tuple[int, ...]]
    norm: str
    gating: str | None


def layout(source) -> Layout:
    """Returns how the sublayers of a checkpoint make blocks.

    Raises:
        ConversionError: if it is of no encoder-decoder that this library can run.
    """
    kinds, gatings, norms = {"encoder": {}, "decoder": {}}, set(), set()
    for name in source.tensors:
        found = _LAYER.fullmatch(name)
        if found is None or any(re.fullmatch(pattern, name) for pattern in IGNORED):
            continue
        kind, rest = found["kind"], found["rest"] or ""
        if kind in _NORMS:
            norms.add(kind)
            continue
        if kind in _KINDS:
            kinds[found["stack"]].setdefault(found["scope"], set()).add(_KINDS[kind])
        if kind == "MoE1D" and rest.split("/")[0].endswith("_gating"):
            gatings.add(rest.split("/")[0])
    if not all(kinds.values()) or len(norms) != 1 or len(gatings) > 1:
        raise ConversionError(
            f"{source.name} is no encoder-decoder of Mesh TensorFlow: it has sublayers "
            f"of {[stack for stack, found in kinds.items() if found] or 'no stack'}, "
            f"norms {sorted(norms)} and routers {sorted(gatings)}."
        )
    scopes, sparse = {}, {}
    for stack, found in kinds.items():
        scopes[stack], sparse[stack] = _blocks(stack, found, source)
    return Layout(scopes, sparse, norms.pop(), gatings.pop() if gatings else None)


def _blocks(stack, kinds, source):
    """Returns the scopes of each block of a stack, and which blocks are sparse."""
    ordered = sorted(
        kinds, key=lambda scope: [int(n) for n in re.findall(r"\d+", scope)]
    )
    order, blocks, sparse = _ORDER[stack], [], []
    for at in range(0, len(ordered), len(order)):
        scopes = ordered[at : at + len(order)]
        found = [sorted(kinds[scope]) for scope in scopes]
        is_sparse = found[-1] == ["sparse"]
        wanted = [[part] for part in order[:-1]] + [["sparse" if is_sparse else "mlp"]]
        if found != wanted:
            raise ConversionError(
                f"{source.name}: the sublayers {', '.join(scopes)} are {found}, but a "
                f"block of the {stack} needs {' then '.join(order)}."
            )
        if is_sparse:
            sparse.append(len(blocks))
        blocks.append(dict(zip(order, scopes, strict=True)))
    return blocks, tuple(sparse)


def table(found: Layout) -> Table:
    """Returns the names of a checkpoint with this layout."""
    return Table(
        "Mesh TensorFlow",
        rows=tuple(_rows(found)),
        scopes=lambda stack, i: dict(found.scopes[stack][i]),
        ignored=IGNORED,
    )


def _rows(found):
    final = "final_layer_norm" if found.norm == "layer_norm" else "rms_norm"
    yield Row("token_embedding/embedding", "shared/embedding")
    yield Row("token_embedding/logits", "decoder/logits/kernel")
    yield Row("{stack}/final_norm/scale", f"{{stack}}/{final}/scale")
    for stack, blocks in found.scopes.items():
        yield Row(
            f"{stack}/relative_bias/embedding",
            f"{blocks[0]['mixer']}/SelfAttention/relative_attention_bias",
        )
    block = "{stack}/block_{i}"
    for part in ("mixer", "cross", "mlp"):
        yield Row(f"{block}/{part}_norm/scale", f"{{{part}}}/{found.norm}/scale")
    for ours, theirs in {"query": "q", "key": "k", "value": "v", "output": "o"}.items():
        yield Row(f"{block}/mixer/{ours}", f"{{mixer}}/SelfAttention/{theirs}")
        yield Row(f"{block}/cross/{ours}", f"{{cross}}/EncDecAttention/{theirs}")
    sparse = f"{block}/{{stack}}_{{i}}"
    for kernel in ("wi", "wi_0", "wi_1", "wo"):
        yield Row(f"{block}/mlp/{kernel}", f"{{mlp}}/DenseReluDense/{kernel}/kernel")
        yield Row(f"{sparse}/experts/{kernel}", f"{{mlp}}/MoE1D/{kernel}/kernel")
    yield Row(f"{sparse}/router/kernel", f"{{mlp}}/MoE1D/{found.gating}/kernel")
