"""Generation on a mesh: the model runs there, a step at a time, samplers on the host.

What chooses tokens is the code of one device, on the same numbers, so that it chooses
the same. In place of caches it is given the numbers of their rows; whatever it does to
these, repeating rows for samples or reordering them for beams, is done to the caches
before the next step. A loop on the mesh would not come back to the host for each token,
but DTensor's lowering crashes on one with the state of a sampler in it.

Axes: B batch, R rows of a cache (those of one input lie together), Q new tokens.
"""

import zlib

import numpy as np
import tensorflow as tf
from keras import tree
from tensorflow.experimental import dtensor

from keras_switch.partitioning import together
from keras_switch.partitioning.traced import Traced
from keras_switch.partitioning.transfer import full, put
from keras_switch.partitioning.variables import take_off


class Generate:
    """A generate function as `keras_hub.models.CausalLM` calls it, for all samplers.

    Args:
        model: language model with a `mesh`, whose `_start` makes a cache from a batch,
            and `_decode` gives logits, hidden states and the cache after new tokens.
    """

    def __init__(self, model):
        self.model = model
        self.start = Traced(model, model._start)
        self.step = Traced(model, self._step)
        self.pick = Traced(model, _picked)
        self.written = None  # which parts of a cache change in a step

    def __call__(self, inputs, stop_token_ids=None):
        """Returns what `generate_step` does, of this process's rows."""
        sampler = self.model.generation.sampler
        take_off(sampler.variables)
        check_seeds(self.model.mesh, sampler)
        inputs = tree.map_structure(lambda x: together.all_rows(self.model, x), inputs)
        found = self.model.generate_step(inputs, stop_token_ids, Decoder(self))
        return tree.map_structure(lambda x: together.own_rows(self.model, x), found)

    def _step(self, token_ids, cache, index):
        logits, hidden, after = self.model._decode(token_ids, cache, index)
        pairs = zip(tree.flatten(cache), tree.flatten(after), strict=True)
        self.written = [new is not old for old, new in pairs]
        answers = {"hidden": hidden}
        if token_ids.shape[1] == 1:  # of a whole prompt nobody asks for logits
            answers["logits"] = logits
        constrain = self.model.mesh.constrain
        whole = {name: constrain(x, (None,) * 3) for name, x in answers.items()}
        return whole, after


class Decoder:
    """A model on a mesh in one call of `generate`, as samplers on the host see it.

    Args:
        functions: `Generate`.
    """

    def __init__(self, functions):
        self._functions = functions
        self._mesh = functions.model.mesh
        self._cache = self._batch_size = self._rows = None

    def _start(self, inputs):
        """Returns the numbers of the rows `(B,)` int32; the cache stays on the mesh."""
        values = {name: self._put(value) for name, value in inputs.items()}
        self._cache = self._functions.start(values)
        self._batch_size = self._rows = len(tree.flatten(inputs)[0])
        return tf.range(self._rows)

    def _decode(self, token_ids, rows, index):
        """Returns logits, hidden states and row numbers after more tokens.

        Args:
            token_ids: `(R, Q)` int.
            rows: `(R,)` int32, the rows of the cache that go on.
            index: int scalar, position of the first new token.
        """
        self._follow(np.asarray(rows))
        index = np.asarray(index, "int32")
        state = self._put(token_ids), self._cache, self._put(index)
        found, self._cache = self._functions.step(*state)
        found = {name: tf.constant(full(value)) for name, value in found.items()}
        return found.get("logits"), found["hidden"], tf.range(self._rows)

    def _follow(self, rows):
        """Makes the cache hold these of its rows, those of an input together."""
        if np.array_equal(rows, np.arange(self._rows)):
            return
        held, self._rows = self._rows, len(rows)
        leaves, moves = tree.flatten(self._cache), self._functions.written
        if held != self._rows:  # else what no step writes is the same for an input's
            moves = [True] * len(leaves)
        pairs = [*zip(leaves, moves, strict=True)]
        moving = [x for x, moves_too in pairs if moves_too]
        places = self._places(rows, held)
        moved = self._functions.pick(moving, places)
        if held != self._rows or len(places.shape) == 1:
            moved = map(self._like, moved, moving)
        moved = iter(moved)
        after = [next(moved) if moves_too else x for x, moves_too in pairs]
        self._cache = tree.pack_sequence_as(self._cache, after)

    def _places(self, rows, held):
        """Returns rows as `_picked` takes them, on the mesh."""
        if self._split(self._batch_size) != self._split(held):
            # Rows of one input are on several devices.
            return put(rows, self._mesh.layout((None,), rows.shape))
        first = np.arange(self._batch_size, dtype=rows.dtype)[:, np.newaxis]
        each = held // self._batch_size
        return self._put(rows.reshape(self._batch_size, -1) - first * each)

    def _like(self, moved, before):
        """Returns rows of a part of the cache, laid out as the part was."""
        specs = dtensor.fetch_layout(before).sharding_specs
        specs = [self._split(self._rows), *specs[1:]]
        layout = dtensor.Layout(specs, self._mesh.dtensor_mesh)
        return dtensor.relayout(moved, layout)

    def _split(self, rows):
        """Returns the axis of the mesh that splits so many rows."""
        return self._mesh.layout(("batch",), (rows,)).sharding_specs[0]

    def _put(self, value):
        value = np.asarray(value)
        names = ("batch", *(None,) * value.ndim)[: value.ndim]
        return put(value, self._mesh.layout(names, value.shape))


def _picked(leaves, places):
    """Returns rows of tensors: `(R,)` of all, or of each input `(B, R / B)` of its."""
    if places.shape.rank == 1:
        return [tf.gather(x, places) for x in leaves]

    def of_each_input(x):
        x = tf.reshape(x, (places.shape[0], -1, *x.shape[1:]))
        # Each device picks among its own rows: nothing is sent.
        x = tf.gather(x, places, axis=1, batch_dims=1)
        return tf.reshape(x, (-1, *x.shape[2:]))

    return [of_each_input(x) for x in leaves]


def check_seeds(mesh, sampler):
    """Raises `ValueError` if processes would draw other tokens: they would part."""
    states = [full(variable).tobytes() for variable in sampler.variables]
    if mesh.clients.differ(zlib.crc32(b"".join(states)) % 2**20):
        raise ValueError(
            f"The {mesh.clients.number} processes on the mesh {str(mesh)!r} would draw "
            f"different tokens, since the seeds of their {type(sampler).__name__} "
            "differ: give it a seed, or call keras.utils.set_random_seed with the same "
            "number in all before it is made."
        )
