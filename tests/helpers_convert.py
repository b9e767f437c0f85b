"""Goldens as models, by the library's own conversion, and operative configs of them."""

import json
import pathlib

import numpy as np

from keras_switch.convert import gin_text, hugging_face, mesh_tensorflow, t5x
from keras_switch.convert.engine import described, load
from keras_switch.convert.hf_config import from_hugging_face
from keras_switch.convert.hf_files import Files, weights
from keras_switch.convert.model import build
from keras_switch.convert.source import Arrays
from keras_switch.convert.t5x_config import from_t5x
from keras_switch.convert.t5x_known import KNOWN

GOLDENS = pathlib.Path(__file__).parent / "goldens"


def hugging_face_model(name, mode):
    """Returns the model of a golden of Hugging Face and its table of names."""
    folder = GOLDENS / "hf" / name
    file = folder / ("config_drop.json" if mode == "drop" else "config.json")
    config = from_hugging_face(json.loads(file.read_text()), file.name)
    model, table = build(config), hugging_face.names(config)
    load(model.weights, weights(Files(folder)), table)
    return model, table


def flaxformer_model(name, mode):
    """Returns the model of a golden of flaxformer and its table of names."""
    folder = GOLDENS / "flaxformer" / name
    gin = "model_nodrop.gin" if mode == "eval_nodrop" else "model.gin"
    model = build(from_t5x(gin_text.read(folder / gin, KNOWN)))
    with np.load(folder / "params.npz") as arrays:
        source = Arrays(dict(arrays))
    table, _ = t5x.names(source)
    load(model.weights, source, table)
    return model, table


def mesh_tensorflow_model(name, meta, folder, **changes):
    """Returns the model of a golden of Mesh TensorFlow.

    Args:
        name: of the golden.
        meta: its sizes, as in `meta.json`.
        folder: where to write its operative config.
        **changes: values of the config to change.
    """
    file = folder / "operative_config.gin"
    file.write_text(operative_config({**meta, **changes}))
    address = GOLDENS / "mtf" / name / "ckpt"
    return mesh_tensorflow.read(address, gin=file).model


def compare_gradients(model, table, ours, theirs, prefix=""):
    """Asserts that gradients are another implementation's; returns how many were.

    Args:
        model: our model.
        table: names of the other side.
        ours: gradients by path.
        theirs: gradients by name; not all need to be there.
        prefix: goes before their names.
    """
    compared, arrays = (
        0,
        {
            key.removeprefix(prefix): theirs[key]
            for key in theirs
            if key.startswith(prefix)
        },
    )
    source = Arrays(arrays)
    for variable in model.trainable_variables:
        match = table.match(described(variable))
        everything = (slice(None),) * (len(variable.shape) - 1)
        for e, name in enumerate(match.names):
            if name not in arrays:
                continue
            where = (slice(e, e + 1), *everything) if match.split else None
            wanted = match.read(source, where)
            found = ours[variable.path][where or ...]
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(found, wanted, atol=1e-3 * scale, err_msg=name)
            compared += 1
    assert compared == len(arrays)


def operative_config(meta):
    """Returns an operative config as Mesh TensorFlow's runs leave it, shortened.

    Args:
        meta: sizes of a golden of Mesh TensorFlow, as in `meta.json`.
    """
    act = meta["act"]
    activation = repr(act if isinstance(act, str) else list(act))
    legacy = "%dropout_rate" if meta["legacy"] else "None"
    epsilon = "1e-06" if meta["legacy"] else "None"
    layers = "@mesh_tensorflow.transformer.transformer_layers"
    return f"""\
import mesh_tensorflow.optimize
import mesh_tensorflow.transformer.moe
import t5.data.sentencepiece_vocabulary

# Macros:
# ==============================================================================
d_ff = {meta["d_ff"]}
d_kv = {meta["kv"]}
d_model = {meta["d_model"]}
dropout_rate = 0.0
num_heads = {meta["heads"]}
num_layers = {meta["blocks"]}

# Parameters for AdafactorOptimizer:
# ==============================================================================
AdafactorOptimizer.beta1 = 0.0
AdafactorOptimizer.decay_rate = None

# Parameters for Bitransformer:
# ==============================================================================
Bitransformer.shared_embedding = True

# Parameters for DenseReluDense:
# ==============================================================================
DenseReluDense.activation = {activation}
DenseReluDense.dropout_rate = %dropout_rate
DenseReluDense.hidden_size = %d_ff
DenseReluDense.use_bias = False

# Parameters for EncDecAttention:
# ==============================================================================
EncDecAttention.relative_attention_type = None

# Parameters for LayerStack:
# ==============================================================================
LayerStack.dropout_rate = {legacy}
LayerStack.norm_epsilon = {epsilon}
LayerStack.sublayers_final = \\
    [@transformer.sublayer_rms_norm, @transformer.sublayer_dropout]

# Parameters for encoder/make_layer_stack:
# ==============================================================================
encoder/make_layer_stack.layers = \\
    [{layers}.SelfAttention,
     {layers}.DenseReluDense,
     {layers}.SelfAttention,
     @mesh_tensorflow.transformer.moe.MoE1D]
encoder/make_layer_stack.num_layers = %num_layers

# Parameters for MoE1D:
# ==============================================================================
MoE1D.activation = {activation}
MoE1D.capacity_factor_eval = {meta["cf_eval"]}
MoE1D.capacity_factor_train = {meta["cf_train"]}
MoE1D.dropout_rate = 0.0
MoE1D.group_size = {meta["group"]}
MoE1D.hidden_size = {meta["moe_h"]}
MoE1D.loss_coef = 0.01
MoE1D.min_expert_capacity = 4
MoE1D.moe_gating = {meta["gating"]!r}
MoE1D.num_experts = {meta["E"]}
MoE1D.switch_policy_eval = 'argmax'
MoE1D.switch_policy_train = {meta.get("policy", "argmax")!r}
MoE1D.z_loss = {meta["moe_z"]}

# Parameters for SelfAttention:
# ==============================================================================
SelfAttention.attention_kwargs = None
SelfAttention.combine_dims = True
SelfAttention.dropout_rate = %dropout_rate
SelfAttention.key_value_size = %d_kv
SelfAttention.num_heads = %num_heads
SelfAttention.relative_attention_num_buckets = {meta["buckets"]}
SelfAttention.relative_attention_type = 'bias_shared'

# Parameters for Unitransformer:
# ==============================================================================
Unitransformer.d_model = %d_model
Unitransformer.max_length = 512
Unitransformer.positional_embedding = False
Unitransformer.shared_embedding_and_softmax_weights = {meta["tied"]}
"""
