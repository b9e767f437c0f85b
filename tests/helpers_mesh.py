"""Small models, batches, and layouts of the Switch paper, for tests on meshes."""

import keras
import numpy as np

from keras_switch import dispatch, models, routing, training

RULES = {
    "data:8": "batch:data,experts:data",
    "model:2": "d_ff:model,heads:model,vocab:model",
    "data:4,model:2": "batch:data,experts:data,d_ff:model,heads:model,vocab:model",
    "data:2,expert:4": "batch:data,experts:expert",
    "data:2,expert:2,model:2": "batch:data,experts:expert,d_ff:model,heads:model",
    "data:4": "batch:data,d_model:data",  # weights fully in parts
}
BATCH, LENGTH = 8, 6
DISPATCH = {
    "einsum": dispatch.EinsumDispatch(),
    "gather": dispatch.GatherDispatch(),
    "dropless": dispatch.DroplessDispatch(),
}
ROUTING = {
    "switch": routing.Switch(exploration=routing.Argmax()),
    "top2": routing.TopK(2, exploration=routing.Argmax()),
    # One row for each expert: most tokens are dropped.
    "tight": routing.Switch(
        exploration=routing.Argmax(), capacity=routing.CapacityFactor(1.0, minimum=1)
    ),
    "jitter": routing.Switch(exploration=routing.InputJitter(0.3)),
}


def adam():
    return keras.optimizers.Adam(0.01, epsilon=1e-6)


def adafactor():
    return training.Adafactor(1e-2, factoring=training.T5XFactoring(2))


def batch(architecture):
    rng = np.random.default_rng(0)

    def tokens():
        real = np.arange(LENGTH) < rng.integers(LENGTH // 2, LENGTH + 1, (BATCH, 1))
        return rng.integers(2, 32, (BATCH, LENGTH)) * real, real.astype("int32")

    inputs = {}
    for prefix in ("encoder_", "decoder_") if "-dec" in architecture else ("",):
        ids, real = tokens()
        inputs[f"{prefix}token_ids"] = ids.astype("int32")
        inputs[f"{prefix}padding_mask"] = real
    targets, real = tokens()
    return inputs, targets, real.astype("float32")


def model(
    architecture, how, policy="switch", optimizer=adam, dropout_rate=0.0, **compiled
):
    keras.utils.set_random_seed(0)
    sparse = None
    if how != "dense":
        sparse = models.Sparse(8, routing=ROUTING[policy], dispatch=DISPATCH[how])
    config = models.ModelConfig(
        vocab_size=32,
        d_model=8,
        d_ff=16,
        d_kv=4,
        num_heads=2,
        num_layers=2,
        architecture=architecture,
        sparse=sparse,
        dropout_rate=dropout_rate,
    )
    task = models.SwitchCausalLM
    if "-dec" in architecture:
        task = models.SwitchSeq2SeqLM
    made = task(models.SwitchBackbone(config))
    made.compile(optimizer(), training.TokenCrossEntropy(z_loss=1e-4), **compiled)
    return made
