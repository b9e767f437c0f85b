"""Weights of Hugging Face's T5, mT5 and Switch Transformers by their names.

Linear layers are stored `(out, in)`. The MLP is the last sublayer of a block: the
second of the encoder's, the third of the decoder's.
"""

from keras_switch.convert.table import Row, Table

_ATTENTION = {"query": "q", "key": "k", "value": "v", "output": "o"}
_LAST = {"encoder": 1, "decoder": 2}
SHARED = "shared.weight"
HEAD = "lm_head.weight"
# One table under several names. Untied models have a head of their own.
EMBEDDINGS = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# In old files of T5: a bias that cross attention never had.
_OBSOLETE = (
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"
)


def table(mlp: str, tied: bool) -> Table:
    """Returns the names of a model.

    Args:
        mlp: `"mlp"` for Switch Transformers, `"DenseReluDense"` for T5.
        tied: whether the token table also makes the logits.
    """
    copies = (*EMBEDDINGS, HEAD) if tied else EMBEDDINGS
    return Table(
        "Hugging Face",
        rows=tuple(_rows(mlp)),
        scopes=_scopes,
        ignored=(_OBSOLETE,),
        copies={SHARED: copies},
    )


def _scopes(stack, i):
    block = f"{stack}.block.{i}.layer"
    return {
        "mixer": f"{block}.0",
        "cross": f"{block}.1",
        "last": f"{block}.{_LAST[stack]}",
    }


def _rows(mlp):
    yield Row("token_embedding/embedding", SHARED)
    yield Row("token_embedding/logits", HEAD, transposed=True)
    yield Row("{stack}/final_norm/scale", "{stack}.final_layer_norm.weight")
    yield Row(
        "{stack}/relative_bias/embedding",
        "{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        transposed=True,
    )
    for ours, theirs in (("mixer", "mixer"), ("cross", "cross"), ("mlp", "last")):
        norm = f"{{stack}}/block_{{i}}/{ours}_norm/scale"
        yield Row(norm, f"{{{theirs}}}.layer_norm.weight")
    for ours, theirs in _ATTENTION.items():
        for part, kind in (("mixer", "SelfAttention"), ("cross", "EncDecAttention")):
            path = f"{{stack}}/block_{{i}}/{part}/{ours}"
            yield Row(path, f"{{{part}}}.{kind}.{theirs}.weight", transposed=True)
    experts = "{last}.mlp.experts.expert_{e}"
    for kernel in ("wi", "wi_0", "wi_1", "wo"):
        dense = f"{{stack}}/block_{{i}}/mlp/{kernel}"
        yield Row(dense, f"{{last}}.{mlp}.{kernel}.weight", transposed=True)
    for kernel in ("wi", "wo"):
        sparse = f"{{stack}}/block_{{i}}/{{stack}}_{{i}}/experts/{kernel}"
        yield Row(sparse, f"{experts}.{kernel}.weight", transposed=True)
    router = "{stack}/block_{i}/{stack}_{i}/router"
    classifier = "{last}.mlp.router.classifier"
    yield Row(f"{router}/kernel", f"{classifier}.weight", transposed=True)
    yield Row(f"{router}/bias", f"{classifier}.bias")
