"""What the layers over single tokens do: dense and gated MLPs, routers and experts."""

import keras

from keras_switch.dispatch import EinsumDispatch
from keras_switch.models.config import ModelConfig
from keras_switch.models.parts import GatedMlp, PlainMlp
from keras_switch.planning.operations import Move, Product, Read, Saved
from keras_switch.planning.sizes import Sizes
from keras_switch.routing import InputDropout, InputJitter, Policy, Soft

_TOKENS = ("batch", "length")
_ROWS = ("experts", "batch", "capacity")
_ROWS_AT_HOME = ("experts_unsplit", "batch", "capacity")  # where their tokens are
_BLOCKS = ("batch",)
# What the gradient of an activation reads beside its result.
_OF_ACTIVATION = {"relu": (), "gelu": ("input", "cube", "tanh", "half")}


def dense(
    name: str, sizes: Sizes, mlp: PlainMlp | GatedMlp, reads: str | None = None
) -> list:
    """Returns what `layers.FeedForward` or `layers.GatedFeedForward` does.

    Args:
        name: where in the model.
        sizes: of its tensors.
        mlp: which kind.
        reads: name of its input, if something else reads it too.
    """
    return _projections(name, sizes, mlp, _TOKENS, (), reads)


def sparse(name: str, sizes: Sizes, config: ModelConfig, policy: Policy) -> list:
    """Returns what `layers.SwitchFeedForward` does in training."""
    options = config.sparse
    groups, group = groups_of(options.groups, sizes)
    table = {"batch": groups, "length": group, "experts": options.num_experts}
    table |= {
        "experts_unsplit": options.num_experts,
        "d_ff": options.d_ff or config.d_ff,
    }
    sizes = sizes.changed(**table)
    found = _router(name, sizes, options, policy) if policy.uses_router else []
    found.append(_load(name, sizes))
    if options.dispatch.drops or sizes.on_mesh:
        capacity = group  # dropless on a mesh: rows for all tokens in every expert
        if options.dispatch.drops:
            capacity = policy.rows(group, options.num_experts, training=True)
        sizes = sizes.changed(capacity=capacity)
        useful = _useful(policy, sizes, options.num_experts * groups * capacity)
        found += _there_and_back(name, sizes, options.dispatch)
        inner = _projections(f"{name}/experts", sizes, config.mlp, _ROWS, ("experts",))
    else:
        choices = groups * group * _choices(policy, options.num_experts)
        blocks, rows = options.dispatch.blocks(choices, options.num_experts)
        useful = _useful(policy, sizes, blocks * rows)
        flat = sizes.changed(batch=blocks * rows)
        inner = _projections(f"{name}/experts", flat, config.mlp, _BLOCKS, ("experts",))
    return found + [_with_useful(each, useful) for each in inner]


def groups_of(groups, sizes: Sizes) -> tuple[int, int]:
    """Returns G and S, from the layer's own rule and symbolic tensors."""
    shape = sizes.table["batch"], sizes.table["length"]
    x = keras.KerasTensor((*shape, 1), "float32")
    x, _ = groups.split(x, keras.KerasTensor(shape, "bool"))
    return x.shape[0], x.shape[1]


def _projections(name, sizes, mlp, rows, stack, reads=None):
    """Returns the products of an MLP over `rows`.

    Args:
        name: where in the model.
        sizes: of its tensors.
        mlp: which kind.
        rows: dimensions of the rows that it is applied to.
        stack: dimensions of the weights before their last two.
        reads: name of its input, if something else reads it too.
    """
    read = Read(reads or f"{name}/x")
    outer, inner = (*rows, "d_model"), (*rows, "d_ff")
    gated = isinstance(mlp, GatedMlp)

    def product(weight, left, dims, out, **options):
        # Of stacked weights, rows without that dimension use one matrix each.
        own = tuple(d for d in stack if d in rows) + dims
        stored = sizes.tensor(*stack, *dims) if own != (*stack, *dims) else None
        options["stored"] = stored
        return sizes.project(f"{name}/{weight}", left, own, out, **options)

    into = ("wi_0", "wi_1") if gated else ("wi",)
    dims = ("d_model", "d_ff")
    found = [product(w, outer, dims, inner, left_read=read) for w in into]
    found.append(product("wo", inner, ("d_ff", "d_model"), outer))
    hidden = [*_OF_ACTIVATION.get(mlp.activation, ("input",)), "hidden"]
    hidden += ["gate", "linear"] * gated
    return found + [Saved(f"{name}/{h}", sizes.tensor(*inner)) for h in hidden]


def _router(name, sizes, options, policy):
    """Returns the router's product and bias; both are float32."""
    logits = sizes.island(*_TOKENS, "experts_unsplit")
    x = sizes.island(*_TOKENS, "d_model")
    kernel = sizes.island("d_model", "experts_unsplit")
    stored = {"weight": True, "stored_as": "float32"}
    found = [Product(f"{name}/router", x, kernel, logits, **stored)]
    if options.router.use_bias:
        bias = sizes.island("experts_unsplit")
        found.append(
            Product(f"{name}/bias", logits, bias, logits, matmul=False, **stored)
        )
    explores = getattr(policy, "exploration", None)
    if isinstance(explores, InputJitter | InputDropout):
        found += [Saved(f"{name}/router noise", x), Saved(f"{name}/unperturbed", x)]
    found.append(Saved(f"{name}/router input", x))
    found.append(Saved(f"{name}/router probabilities", logits))
    return found


def _load(name, sizes):
    """Returns the count of each expert's tokens, for the metrics."""
    return Product(
        f"{name}/load",
        sizes.island(*_TOKENS),
        sizes.island(*_TOKENS, "experts_unsplit"),
        sizes.island("experts_unsplit"),
        matmul=False,
        left_gradient=False,
        right_gradient=False,
    )


def _there_and_back(name, sizes, dispatch):
    """Returns the way of the rows to their experts and back."""
    home = sizes.tensor(*_ROWS_AT_HOME, "d_model")
    away = sizes.tensor(*_ROWS, "d_model")
    there = Move(f"{name}/dispatch", home, away)
    back = Move(f"{name}/combine", away, home)
    rows = Saved(f"{name}/rows", away)
    if not isinstance(dispatch, EinsumDispatch):
        return [there, back, rows, Saved(f"{name}/answers", home)]
    tokens = (*_TOKENS, "experts_unsplit", "capacity")
    x = sizes.tensor(*_TOKENS, "d_model")
    to_rows = Product(
        f"{name}/to rows", sizes.tensor(*tokens), x, home, left_gradient=False, useful=0
    )
    to_tokens = Product(
        f"{name}/to tokens",
        sizes.island(*tokens),
        home.as_dtype("float32"),
        x.as_dtype("float32"),
        useful=0,
    )
    saved = [
        Saved(f"{name}/answers", to_tokens.right),
        Saved(f"{name}/one-hot", sizes.tensor(*tokens)),
        Saved(f"{name}/gates", sizes.island(*tokens)),
    ]
    if sizes.dtype != "float32":
        saved.append(Saved(f"{name}/float32 one-hot", sizes.island(*tokens)))
    return [to_rows, there, back, to_tokens, rows, *saved]


def _choices(policy, num_experts):
    """Returns the choices of a token; where experts choose, all of them."""
    if policy.causal and not isinstance(policy, Soft):
        return min(policy.num_choices, num_experts)
    return num_experts


def _useful(policy, sizes, rows):
    """Returns the share of rows that real tokens fill if they are spread evenly."""
    if not policy.causal or isinstance(policy, Soft):
        return 1.0
    tokens = sizes.table["batch"] * sizes.table["length"]
    return min(1.0, tokens * _choices(policy, sizes.table["experts"]) / rows)


def _with_useful(each, useful):
    if isinstance(each, Product):
        return Product(**{**vars(each), "useful": useful})
    return each
