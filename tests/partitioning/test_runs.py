"""The run loop on a mesh: the steps of one device, checkpoints for any other mesh."""

import pathlib

import helpers_training as h
import keras
import numpy as np
import pytest
from helpers_partitioning import on_devices

from keras_switch import Model, layers, routing, training
from keras_switch.partitioning import Mesh

RULES = "batch:data,experts:data,d_ff:model,vocab:model"
STILL = routing.Switch(exploration=routing.Argmax())


def model(dropout=0.0, policy=STILL, model_class=Model):
    keras.utils.set_random_seed(0)
    ids = keras.Input((h.L,), dtype="int32", name="token_ids")
    x = layers.TokenEmbedding(8, 4)(ids)
    x = keras.layers.Dropout(dropout)(x)
    x = x + layers.SwitchFeedForward(4, 8, routing=policy)(x)
    return model_class({"token_ids": ids}, keras.layers.Dense(8)(x))


def spread(mesh, rules=RULES, **options):
    with Mesh(mesh, rules):
        return model(**options)


def run(made, steps=3, folder=None, data=None, **options):
    options = {"log_every": 1, "observers": [], **options}
    return training.train(
        made,
        training.Adafactor(training.InverseSquareRoot(1.0, 4), beta_1=0.9),
        training.TokenCrossEntropy(1e-4),
        h.dataset(size=8) if data is None else data,
        steps=steps,
        model_dir=folder,
        **options,
    )


def measured(history):
    """Returns all that a run recorded but its speed."""
    records = [(r.step, r.split, r.values, r.experts) for r in history.records]
    for _, _, values, _ in records:
        values.pop("tokens_per_second", None)
    return records


def check_same_run(mesh, rules=RULES, **options):
    """Trains and evaluates on a mesh and on one device, and compares everything."""
    evaluation = h.dataset(2, repeat=False, size=8)
    options = {"eval_data": evaluation, "eval_every": 2, **options}
    alone, other = model(), spread(mesh, rules)
    wanted, found = (measured(run(one, **options)) for one in (alone, other))
    assert [r[:2] for r in found] == [r[:2] for r in wanted]
    for (*_, values, use), (*_, values2, use2) in zip(found, wanted, strict=True):
        assert values == pytest.approx(values2, abs=1e-5)
        for one, two in zip(use.values(), use2.values(), strict=True):
            assert one.pop("load") == pytest.approx(two.pop("load"), abs=1e-6)
            assert one == pytest.approx(two, abs=1e-6)
    for a, b in zip(other.weights, alone.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5, err_msg=a.path)


@on_devices
def test_a_run_on_a_mesh_is_the_run_of_one_device():
    check_same_run("data:4,model:2", max_grad_norm=0.5)


@on_devices
def test_micro_batches_on_a_mesh_are_those_of_one_device():
    check_same_run("data:2,model:2", microbatches=2)


@pytest.mark.slow
@on_devices
def test_other_meshes_run_like_one_device():
    check_same_run("data:4", "batch:data,d_model:data", microbatches=2)
    check_same_run("model:2", RULES.replace("data", "model").split(",")[-1])


def everything(made, optimizer):
    variables = (*made.variables, *optimizer.variables)
    return [v.numpy() for v in variables if v.name != "learning_rate"]


def handed_on(made, folder, step):
    """Restores a step into a new model and saves it as the next one.

    Returns the state of model and optimizer, and the next batch.
    """
    optimizer, iterator = training.Adafactor(0.1, beta_1=0.9), iter(h.dataset())
    training.TrainStep(made, optimizer, training.TokenCrossEntropy())
    checkpoints = training.Checkpoints(made, optimizer, iterator, folder)
    assert checkpoints.restore() == step
    checkpoints.save(step + 1)
    return everything(made, optimizer), next(iterator)[1].numpy()


@on_devices
def check_checkpoints_of_any_mesh(folder):
    optimizer, iterator = training.Adafactor(0.1, beta_1=0.9), iter(h.dataset())
    made = spread("data:4,model:2")
    training.TrainStep(made, optimizer, training.TokenCrossEntropy())
    rng = np.random.default_rng(0)
    for v in (*made.variables, *optimizer.variables):
        v.assign(rng.uniform(1, 9, v.shape).astype(v.dtype))
    next(iterator)
    training.Checkpoints(made, optimizer, iterator, folder).save(1)
    wanted, batch = everything(made, optimizer), next(iterator)[1].numpy()
    for step, mesh in enumerate(("data:4", "data:2,model:2", None, "model:2"), 1):
        made = model() if mesh is None else spread(mesh, rules_of(mesh))
        found, next_batch = handed_on(made, folder, step)
        np.testing.assert_array_equal(next_batch, batch)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


def rules_of(mesh):
    pairs = (pair.split(":") for pair in RULES.split(","))
    return ",".join(f"{dim}:{axis}" for dim, axis in pairs if axis in mesh)


def test_a_checkpoint_is_restored_bit_for_bit_on_any_mesh_and_on_none(tmp_path):
    check_checkpoints_of_any_mesh(folder=str(tmp_path))


@on_devices
def check_parts(folder):
    import tensorflow as tf

    from keras_switch.partitioning import files, transfer, variables

    made = spread("data:4,model:2")
    whole = transfer.full

    def refused(value):
        raise AssertionError("a checkpoint brought the parts of a variable together")

    files.MOST_BYTES, most = 200, files.MOST_BYTES
    transfer.full = variables.full = refused
    try:
        path = training.Checkpoints(made, model_dir=folder).save(1)
    finally:
        files.MOST_BYTES = most
        transfer.full = variables.full = whole
    # As many values as the model has: what several devices hold is written once.
    reader = tf.train.load_checkpoint(path)
    size = sum(file.stat().st_size for file in pathlib.Path(folder).rglob("*.data-*"))
    shapes = reader.get_variable_to_shape_map()
    types = reader.get_variable_to_dtype_map()
    assert size == sum(np.prod(shapes[n]) * types[n].size for n in shapes)
    for index, variable in enumerate(made.variables):
        (name,) = [n for n in shapes if n.startswith(f"model/{index:04d}/")]
        np.testing.assert_array_equal(reader.get_tensor(name), variable.numpy())


def test_parts_are_written_where_they_are_and_each_once(tmp_path):
    check_parts(folder=str(tmp_path))


@on_devices
def check_exact_resume(folder):
    def jittering():
        return spread("data:2,model:2", dropout=0.3, policy=routing.Switch())

    straight = jittering()
    run(straight, 4)
    run(jittering(), 2, folder)
    keras.utils.set_random_seed(9)
    resumed = jittering()
    for variable in resumed.weights:
        variable.assign(variable.numpy() * 0)
    run(resumed, 4, folder)
    for a, b in zip(resumed.variables, straight.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_a_run_on_a_mesh_goes_on_bit_for_bit_where_it_stopped(tmp_path):
    check_exact_resume(folder=str(tmp_path))


@on_devices
def test_what_a_run_on_a_mesh_cannot_do_is_refused_before_the_first_step():
    made = spread("data:4,model:2")
    with pytest.raises(
        ValueError, match=r"6 rows cannot be split over data:4.*multiple of 4"
    ):
        run(made, data=h.dataset(size=6))
    with pytest.raises(ValueError, match=r"8 rows in 4 micro-batches.*multiple of 16"):
        run(made, microbatches=4)
    with pytest.raises(ValueError, match="leave jit_compile out"):
        run(made, jit_compile=True)
    plain = spread("data:4,model:2", model_class=keras.Model)
    with pytest.raises(ValueError, match=r"keras_switch\.Model instead"):
        run(plain)


def scaled(made):
    """Returns losses, final scale and updates of steps of which some overflow."""
    inner = training.Adafactor(1e-2)
    optimizer = keras.optimizers.LossScaleOptimizer(
        inner, initial_scale=2.0**22, dynamic_growth_steps=2
    )
    step = training.TrainStep(made, optimizer, training.TokenCrossEntropy())
    losses = [float(step(h.batch(8))["loss"]) for _ in range(12)]
    return losses, float(optimizer.dynamic_scale.numpy()), int(inner.iterations.numpy())


@on_devices
def test_losses_are_scaled_for_float16_as_on_one_device():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        alone, other = model(), spread("data:4,model:2")
    finally:
        keras.config.set_dtype_policy(before)
    (losses, *wanted), (found, *ended) = scaled(alone), scaled(other)
    assert ended == wanted and 0 < ended[1] < 12
    assert found == pytest.approx(losses, abs=2e-3)
    inputs, targets, weights = h.batch(8)
    for one in (alone, other):
        one.compile(training.Adafactor(1e-2), training.TokenCrossEntropy())
        assert isinstance(one.optimizer, keras.optimizers.LossScaleOptimizer)
        one.fit(inputs, targets, batch_size=8, sample_weight=weights, verbose=0)
    for a, b in zip(other.weights, alone.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-3, err_msg=a.path)
