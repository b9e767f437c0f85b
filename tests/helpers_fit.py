"""A program that fits a model, and draws text, on the processes of its environment.

`python -m helpers_fit FOLDER` leaves what each process found in `FOLDER/I-of-N.npz`.
"""

import json
import pathlib
import sys

import helpers_mesh
import helpers_training as h
import keras
import keras_hub
import numpy as np
import tensorflow as tf

from keras_switch import Model, layers, routing, training
from keras_switch.partitioning import Mesh, full

BATCH, BATCHES = 8, 2


def model():
    ids = keras.Input((h.L,), dtype="int32", name="token_ids")
    x = layers.TokenEmbedding(8, 4)(ids)
    still = routing.Switch(exploration=routing.Argmax())
    x = x + layers.SwitchFeedForward(4, 8, routing=still)(x)
    made = Model({"token_ids": ids}, keras.layers.Dense(8)(x))
    adam = keras.optimizers.AdamW(0.01, epsilon=1e-6)
    made.compile(
        adam,
        training.TokenCrossEntropy(),
        weighted_metrics=["sparse_categorical_accuracy"],
    )
    return made


def own(array, share):
    """Returns this process's part of every batch of an array."""
    each = BATCH // share.of
    parts = array.reshape(BATCHES, share.of, each, *array.shape[1:])
    return parts[:, share.index].reshape(BATCHES * each, *array.shape[1:])


def fitted(made, share):
    """Fits with arrays, then with a dataset; returns all that can be compared."""
    x, y, weights = h.batch(BATCH * BATCHES)
    x = own(x["token_ids"], share)
    y, weights = own(y, share), own(weights, share)
    each, inputs = BATCH // share.of, {"token_ids": x}
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1))
    arrays = made.fit(
        inputs,
        y,
        sample_weight=weights,
        batch_size=each,
        shuffle=False,
        epochs=2,
        validation_data=(inputs, y, weights),
        callbacks=[schedule, keras.callbacks.EarlyStopping()],
    )
    data = tf.data.Dataset.from_tensor_slices((inputs, y, weights)).batch(each)
    dataset = made.fit(data.repeat(), steps_per_epoch=3, validation_data=data)
    return {
        "told": json.dumps([arrays.history, dataset.history], default=float),
        "evaluated": made.evaluate(data, return_dict=False),
        "predicted": made.predict(inputs, batch_size=each),
        **{f"weight {i}": full(w) for i, w in enumerate(made.weights)},
    }


def written(mesh, said):
    """Returns what a language model draws for each process's rows, and its scores."""
    with mesh:
        made = helpers_mesh.model("decoder-only", "gather")
    for i, weight in enumerate(made.trainable_weights):
        draw = np.random.default_rng(i).standard_normal
        weight.assign(0.5 * draw(weight.shape).astype("float32"))
    inputs, *_ = helpers_mesh.batch("decoder-only")
    share = mesh.clients.share
    inputs = {name: np.split(x, share.of)[share.index] for name, x in inputs.items()}
    inputs["padding_mask"][:, 2:] = 0

    def generate(seed):
        return made.generate(
            inputs,
            stop_token_ids=None,
            sampler=keras_hub.samplers.TopKSampler(k=5, seed=seed),
            num_samples=2,
            return_scores=True,
        )

    found, scores = generate(seed=3)
    if mesh.clients.number > 1:
        try:
            generate(seed=mesh.clients.index)
        except ValueError as error:
            said.append(str(error))
    return {"tokens": found["token_ids"], "scores": scores}


def refused(made, folder, clients):
    """Returns what `fit` says to what several processes cannot do."""
    inputs, y, _ = h.batch(4 * (2 + clients.index))
    checkpoint = keras.callbacks.ModelCheckpoint(folder / "m.weights.h5")
    lines = keras.callbacks.CSVLogger(folder / "log.csv")
    said = []
    for options in ({"callbacks": [checkpoint]}, {"callbacks": [lines]}, {}):
        if options and clients.is_first and lines in options["callbacks"]:
            continue
        try:
            made.fit(inputs, y, batch_size=4, **options)
        except ValueError as error:
            said.append(str(error))
    return said


def main(folder):
    folder = pathlib.Path(folder)
    mesh = Mesh("data:4", "batch:data,experts:data")
    clients = mesh.clients
    keras.utils.set_random_seed(clients.index)
    said = []
    if clients.number > 1:
        try:
            with mesh:
                model()
        except ValueError as error:
            said.append(str(error))
    keras.utils.set_random_seed(0)
    with mesh:
        made = model()
    found = fitted(made, clients.share) | written(mesh, said)
    if clients.number > 1:
        said += refused(made, folder, clients)
    file = folder / f"{clients.index}-of-{clients.number}.npz"
    np.savez(file, said=json.dumps(said), **found)


if __name__ == "__main__":
    main(sys.argv[1])
