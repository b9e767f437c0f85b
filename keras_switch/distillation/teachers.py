"""Who is asked: a model, a SavedModel, any function. Axes: B, T, V as elsewhere."""

import pathlib

import keras
import tensorflow as tf

from keras_switch.distillation import vocabularies
from keras_switch.partitioning.clients import clients_of
from keras_switch.partitioning.traced import traced_for
from keras_switch.partitioning.transfer import full


class ModelTeacher:
    """A Keras model with logits, on its own mesh or on none.

    It is asked outside the student's graph, so no gradient can reach it, and it may lie
    on other devices than the student, or on another mesh of them.

    Args:
        model: built; called as `model(inputs, training=False)`.
    """

    def __init__(self, model):
        self.model = model
        self._run = traced_for(model, self._logits)

    def check(self, student):
        """Raises `ValueError` if the student has another vocabulary."""
        vocabularies.check_models(self.model, student)

    def __call__(self, inputs, mesh=None):
        """Returns logits `(B, T, V)` float32 for this process's rows.

        Args:
            inputs: of the model, on the host.
            mesh: the student's; if it is the teacher's too, the logits stay on it.
        """
        logits = self._run(inputs)
        own = getattr(self.model, "mesh", None)
        if own is None or own is mesh:
            return logits
        rows = len(tf.nest.flatten(inputs)[0])
        first = clients_of(self.model).share.index * rows
        return full(logits)[first : first + rows]

    def _logits(self, inputs):
        return tf.cast(self.model(inputs, training=False), "float32")


class FunctionTeacher:
    """Any function of a batch's inputs that returns logits `(B, T, V)`."""

    def __init__(self, function):
        self.function = function

    def check(self, student):
        """Checks nothing yet: what a function returns is looked at when it does."""

    def __call__(self, inputs, mesh=None):
        """Returns logits `(B, T, V)`."""
        return self.function(inputs)


class SavedModelTeacher:
    """A SavedModel that gives logits, such as `keras.Model.export` writes.

    Args:
        path: its folder.
        signature: name of the signature; `None`: `"logits"` if there is one, else
            `"serving_default"`.
        output: name of the output; `None`: the only one with three axes.

    Raises:
        ValueError: if it cannot be loaded, or has no such signature.
    """

    def __init__(self, path: str, signature: str | None = None, output=None):
        if not is_saved_model(path):
            raise ValueError(
                f"{path} is no SavedModel: there is no saved_model.pb in it."
            )
        self.path, self.output = str(path), output
        self._loaded = tf.saved_model.load(self.path)
        known = dict(self._loaded.signatures)
        name = signature or ("logits" if "logits" in known else "serving_default")
        if name not in known:
            raise ValueError(
                f"The SavedModel {path} has no signature {name!r}; it has "
                f"{', '.join(map(repr, known)) or 'none'}."
            )
        self._function = known[name]
        self._specs = self._function.structured_input_signature[1]

    def check(self, student):
        """Raises `ValueError` if the output says that the vocabulary is another."""
        shapes = self._function.output_shapes
        sizes = {
            shape[-1] for name, shape in shapes.items() if self._is_logits(name, shape)
        }
        if len(sizes) == 1:
            vocabularies.check_size(sizes.pop(), vocabularies.size_of(student))

    def __call__(self, inputs, mesh=None):
        """Returns logits `(B, T, V)`."""
        missing = sorted(self._specs.keys() - inputs.keys())
        if missing:
            raise ValueError(
                f"The SavedModel {self.path} wants inputs {sorted(self._specs)}, but "
                f"batches have no {', '.join(missing)}: export it with the inputs of "
                "the student."
            )
        given = {k: tf.cast(inputs[k], spec.dtype) for k, spec in self._specs.items()}
        found = self._function(**given)
        logits = [x for k, x in found.items() if self._is_logits(k, x.shape)]
        if len(logits) != 1:
            raise ValueError(
                f"The SavedModel {self.path} gives "
                f"{ {k: tuple(x.shape) for k, x in found.items()} }: say which output "
                "is logits (batch, length, vocabulary) by output=."
            )
        return logits[0]

    def _is_logits(self, name, shape):
        return name == self.output if self.output else len(shape) == 3


def is_saved_model(path) -> bool:
    """Returns whether there is a SavedModel in a folder."""
    return pathlib.Path(path, "saved_model.pb").is_file()


def as_teacher(thing):
    """Returns a teacher: of a model, of a SavedModel's path, of a function.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(thing, ModelTeacher | SavedModelTeacher | FunctionTeacher):
        return thing
    if isinstance(thing, keras.Model):
        return ModelTeacher(thing)
    if isinstance(thing, str | pathlib.Path):
        return SavedModelTeacher(thing)
    if callable(thing):
        return FunctionTeacher(thing)
    raise ValueError(
        f"{thing!r} is no teacher: give a Keras model with logits, the path of a "
        "SavedModel, or a function of a batch's inputs."
    )


def check_logits(logits, targets, student):
    """Raises `ValueError` unless logits are `(B, T, V)` for these targets."""
    shape, wanted = tuple(logits.shape), (*targets.shape, None)
    if len(shape) != len(wanted) or shape[:-1] != wanted[:-1]:
        raise ValueError(
            f"The teacher gave logits of shape {shape} for targets of shape "
            f"{wanted[:-1]}: one row of scores is needed for every target."
        )
    vocabularies.check_size(shape[-1], vocabularies.size_of(student))
