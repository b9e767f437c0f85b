import keras
import numpy as np
import pytest
from helpers_partitioning import on_devices

from keras_switch import Model, layers
from keras_switch.partitioning import Mesh, MeshTrainer, Sequential
from keras_switch.partitioning.variables import is_on_mesh

RULES = "batch:data,d_ff:model,heads:model"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3, 4)).astype("float32")
Y = RNG.integers(0, 3, (22,))
W = RNG.random((22,)).astype("float32")


def model(model_class, seed=0, **compiled):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((3, 4))
    x = layers.Attention(2, 4)(layers.RMSNorm()(inputs))
    x = keras.layers.LayerNormalization()(x + layers.FeedForward(8)(x))
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x))
    made = model_class(inputs, outputs)
    options = {
        "optimizer": keras.optimizers.Adam(0.01, epsilon=1e-6),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
        "weighted_metrics": [keras.metrics.SparseTopKCategoricalAccuracy(2)],
    }
    made.compile(**{**options, **compiled})
    return made


def differences(found, wanted):
    variables = zip(
        found.weights + found.optimizer.variables,
        wanted.weights + wanted.optimizer.variables,
        strict=True,
    )
    return max(np.abs(a.numpy() - b.numpy()).max() for a, b in variables)


def check_same(found, wanted, **fit):
    """Fits, evaluates and predicts with both, and compares everything."""
    runs = []
    for one in (found, wanted):
        history = one.fit(
            X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0, **fit
        ).history
        scores = one.evaluate(X, Y, batch_size=8, verbose=0, return_dict=True)
        runs.append((history, scores, one.predict(X, batch_size=8, verbose=0)))
    (history, scores, y), (history2, scores2, y2) = runs
    assert history.keys() == history2.keys()
    for name in history:
        np.testing.assert_allclose(history[name], history2[name], atol=1e-5)
    for name in scores:
        np.testing.assert_allclose(scores[name], scores2[name], atol=1e-5)
    np.testing.assert_allclose(y, y2, atol=1e-5)
    assert differences(found, wanted) < 1e-5


@on_devices
def test_fit_on_a_mesh_is_fit_on_one_device():
    # 22 rows in batches of 8: the last one cannot be split over 4 devices.
    with Mesh("data:4,model:2", RULES):
        found = model(Model)
    fit = {"sample_weight": W, "validation_data": (X, Y, W)}
    check_same(found, model(keras.Model), **fit)
    assert found.mesh is not None
    kernel = next(w for w in found.weights if w.path.endswith("wi"))
    assert kernel.value.layout.sharding_specs == ["unsharded", "model"]


@on_devices
def test_optimizers_and_metrics_made_outside_are_moved_onto_the_mesh():
    options = lambda: {  # noqa: E731
        "optimizer": keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(0.01, 10),
            global_clipnorm=0.5,
            epsilon=1e-6,
            use_ema=True,
        ),
        "metrics": [keras.metrics.SparseCategoricalAccuracy()],
    }
    outside = options()
    with Mesh("data:8", RULES.replace(",d_ff:model,heads:model", "")):
        found = model(Model, optimizer="adam")
    found.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2)],
        **outside,
    )
    check_same(found, model(keras.Model, **options()), steps_per_epoch=2)
    assert all(is_on_mesh(v) for v in outside["optimizer"].variables)
    assert all(is_on_mesh(v) for v in outside["metrics"][0].variables)


@on_devices
def test_steps_per_execution_and_accumulated_gradients_on_a_mesh():
    import tensorflow as tf

    options = lambda: {  # noqa: E731
        "steps_per_execution": 2,
        "optimizer": keras.optimizers.Adam(
            0.01, epsilon=1e-6, gradient_accumulation_steps=2
        ),
    }
    with Mesh("data:2,model:2", RULES):
        found = model(Model, **options())
    wanted = model(keras.Model, **options())
    data = tf.data.Dataset.from_tensor_slices((X, Y, W)).batch(8, drop_remainder=True)
    for one in (found, wanted):
        one.fit(data, epochs=2, verbose=0)
    assert differences(found, wanted) < 3e-5
    scores = [one.evaluate(data, verbose=0) for one in (found, wanted)]
    np.testing.assert_allclose(*scores, atol=1e-5)


@on_devices
def test_a_plain_keras_model_on_a_mesh_is_an_error_that_names_the_fix():
    with Mesh("data:2", "batch:data"):
        plain = model(keras.Model)
    for call in (plain.fit, plain.evaluate):
        with pytest.raises(ValueError, match=r"keras_switch\.Model instead"):
            call(X, Y, verbose=0)
    with pytest.raises(ValueError, match=r"keras_switch\.Model instead"):
        plain.predict(X, verbose=0)


@on_devices
def test_what_a_mesh_cannot_do_is_refused():
    with Mesh("data:2", "batch:data"):
        made = model(Model)
        for options in ({"run_eagerly": True}, {"jit_compile": True}):
            with pytest.raises(ValueError, match=f"leave {next(iter(options))} out"):
                made.compile("adam", "mse", **options)
        made.run_eagerly = True
        with pytest.raises(ValueError, match="leave run_eagerly out"):
            made.fit(X, Y, verbose=0)
        late = Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    outside = keras.layers.Dense(3)
    outside.build((None, 3))
    with Mesh("data:2", "batch:data"):
        mixed = Sequential([keras.Input((3,)), outside])
        mixed.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"made outside it.*kernel"):
        mixed.fit(X[:, 0, :3], X[:, 0, :3], verbose=0)
    assert late.mesh is not None


@on_devices
def test_a_hidden_variable_outside_the_mesh_is_found_in_the_trace():
    import tensorflow as tf

    counter = tf.Variable(0.0, name="hidden")

    class Counting(MeshTrainer, keras.Sequential):
        def call(self, x, training=False):
            counter.assign_add(1.0)
            return super().call(x)

    with Mesh("data:2", "batch:data"):
        made = Counting([keras.Input((4,)), keras.layers.Dense(4)])
        made.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"made outside it.*hidden"):
        made.fit(X[:, 0], X[:, 0], verbose=0)


def test_without_a_mesh_nothing_changes():
    made = model(Model)
    made.fit(X, Y, verbose=0)
    assert made.mesh is None
    assert isinstance(made, keras.Model)
    copy = keras.models.model_from_json(made.to_json())
    assert type(copy) is type(made)


@on_devices
def check_callbacks_and_files(folder):
    import pathlib

    folder = pathlib.Path(folder)
    with Mesh("data:4,model:2", RULES):
        made = model(Model)
    calls = [
        keras.callbacks.EarlyStopping("loss", patience=0, restore_best_weights=True),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
        keras.callbacks.ModelCheckpoint(
            folder / "best.weights.h5", save_weights_only=True
        ),
        keras.callbacks.BackupAndRestore(folder / "backup"),
        keras.callbacks.CSVLogger(folder / "log.csv"),
        keras.callbacks.TerminateOnNaN(),
    ]
    made.fit(X[:16], Y[:16], batch_size=8, epochs=2, verbose=0, callbacks=calls)
    assert made.optimizer.learning_rate.numpy() == pytest.approx(0.0025)

    # Files of a mesh, read on one device, and on another mesh.
    made.save_weights(folder / "w.weights.h5")
    made.save(folder / "m.keras")
    alone = model(keras.Model, seed=1)
    alone.load_weights(folder / "w.weights.h5")
    with Mesh("data:2", "batch:data"):
        other = keras.saving.load_model(folder / "m.keras")
    assert other.mesh.shape.num_devices == 2
    copy = made.off_mesh()
    assert copy.mesh is None
    for found in (alone, other, copy):
        for a, b in zip(found.weights, made.weights, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert differences(other, made) == 0
    np.testing.assert_allclose(copy(X[:2]), made.predict(X[:2], verbose=0), atol=1e-6)


@on_devices
def check_checkpoints(folder):
    import tensorflow as tf

    def checkpoint(one):
        return tf.train.Checkpoint(model=one, optimizer=one.optimizer)

    with Mesh("data:4,model:2", RULES):
        made = model(Model)
        made.train_on_batch(X[:8], Y[:8])
    path = checkpoint(made).save(f"{folder}/c")
    with Mesh("data:2", "batch:data"):
        other = model(Model, seed=1)
        other.optimizer.build(other.trainable_variables)
    alone = model(keras.Model, seed=2)
    alone.optimizer.build(alone.trainable_variables)
    for found in (other, alone):
        checkpoint(found).restore(path).assert_existing_objects_matched()
        assert differences(found, made) == 0


def test_callbacks_and_files_work_on_a_mesh(tmp_path):
    check_callbacks_and_files(folder=str(tmp_path))


def test_a_checkpoint_of_one_mesh_is_restored_on_another_and_on_none(tmp_path):
    check_checkpoints(folder=str(tmp_path))
