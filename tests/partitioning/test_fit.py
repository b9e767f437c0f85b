"""What `fit` takes and calls on a mesh, beside what `test_trainer.py` compares."""

import json
import pathlib

import helpers_training as h
import keras
import numpy as np
import pytest
from helpers_partitioning import on_devices

from keras_switch import Model, data, layers, models, routing, training
from keras_switch.partitioning import Mesh

RULES = "batch:data,experts:data,d_ff:model"
STILL = routing.Switch(exploration=routing.Argmax())


def sparse(model_class=Model, dropout=0.0):
    keras.utils.set_random_seed(0)
    ids = keras.Input((h.L,), dtype="int32", name="token_ids")
    x = keras.layers.Dropout(dropout)(layers.TokenEmbedding(8, 4)(ids))
    x = x + layers.SwitchFeedForward(4, 8, routing=STILL)(x)
    made = model_class({"token_ids": ids}, keras.layers.Dense(8)(x))
    adam = keras.optimizers.AdamW(0.01, epsilon=1e-6, use_ema=True, clipnorm=1.0)
    made.compile(adam, training.TokenCrossEntropy())
    return made


def fitted(made, epochs=2, callbacks=()):
    batches = h.dataset(2, repeat=False, shuffle=False, size=8)
    made.fit(
        batches,
        epochs=epochs,
        verbose=0,
        validation_data=batches,
        callbacks=list(callbacks),
    )
    return made


def with_files(made, folder):
    """Fits with callbacks that write; returns the model that was saved last."""
    calls = [
        keras.callbacks.TensorBoard(folder / "tensorboard", update_freq=1),
        training.ExpertLoad(folder / "experts"),
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.ModelCheckpoint(folder / "m.keras"),
    ]
    fitted(made, callbacks=calls)
    assert [*(folder / "tensorboard").rglob("events*")]
    return keras.saving.load_model(folder / "m.keras")


@on_devices
def check_files_of_callbacks(folder):
    folder = pathlib.Path(folder)
    with Mesh("data:2,model:2", RULES):
        made = sparse()
    spread = with_files(made, folder / "spread")
    alone = with_files(sparse(keras.Model), folder / "alone")
    for a, b in zip(spread.weights, alone.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5, err_msg=a.path)
    told = [
        [json.loads(line)["experts"] for line in file.read_text().splitlines()]
        for file in sorted(folder.rglob("experts.jsonl"))
    ]
    for one, other in zip(*told, strict=True):
        (use,), (wanted,) = one.values(), other.values()
        assert use.pop("load") == pytest.approx(wanted.pop("load"), abs=1e-6)
        assert use == pytest.approx(wanted, abs=1e-6)


def test_callbacks_write_the_files_of_one_device(tmp_path):
    check_files_of_callbacks(folder=str(tmp_path))


@on_devices
def check_interrupted_fit(folder):
    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise RuntimeError("power cut")

    def made():
        with Mesh("data:2,model:2", RULES):
            return sparse()

    backup = keras.callbacks.BackupAndRestore(folder)
    with pytest.raises(RuntimeError, match="power cut"):
        fitted(made(), callbacks=[backup, Crash()])
    resumed, straight = fitted(made(), callbacks=[backup]), fitted(made())
    for a, b in zip(resumed.variables, straight.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_an_interrupted_fit_goes_on_bit_for_bit_with_a_backup(tmp_path):
    check_interrupted_fit(folder=str(tmp_path))


@on_devices
def test_histograms_of_weights_are_refused_with_the_way_out():
    with Mesh("data:2", "batch:data"):
        made = sparse()
    calls = [keras.callbacks.TensorBoard("unused", histogram_freq=1)]
    with pytest.raises(ValueError, match=r"histogram_freq=0, and .*full\(weight\)"):
        fitted(made, callbacks=calls)


def language_model(remat=False):
    keras.utils.set_random_seed(0)
    config = models.ModelConfig(
        vocab_size=384,
        d_model=8,
        d_ff=16,
        d_kv=4,
        num_heads=2,
        num_layers=1,
        architecture="decoder-only",
        sparse=models.Sparse(4, placement=models.AllLayers(), routing=STILL),
        remat=remat,
    )
    made = models.SwitchCausalLM(models.SwitchBackbone(config))
    made.compile(training.Adafactor(1e-2), training.TokenCrossEntropy())
    return made


@pytest.mark.slow
@on_devices
def test_seqio_batches_and_recomputed_blocks_train_like_one_device():
    import helpers_cli_tasks  # noqa: F401, registers the task

    lengths = {"inputs": 8, "targets": 8}
    config = data.DataConfig("toy_copy", lengths, batch_size=4)
    with Mesh("data:2,model:2", RULES):
        spread = language_model(remat=True)
    alone = language_model()
    for one in (spread, alone):
        batches = data.batches(config, one.backbone.config)
        one.fit(batches, steps_per_epoch=3, verbose=0)
    for a, b in zip(spread.weights, alone.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5, err_msg=a.path)
