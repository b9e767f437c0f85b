"""An exported model: found, loaded and run."""

import json
import pathlib

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_log_pb2

from keras_switch.serving import protos
from keras_switch.serving.errors import Reason, Refused
from keras_switch.serving.tensors import Limits, Signature

GRAPH = "saved_model.pb"
EXTRA = "assets.extra"
DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


class ServedModel:
    """A version of a model, in memory.

    Args:
        folder: `NAME` with versions, of which the newest is taken, or `NAME/VERSION`.
        name: what clients call it; `None`: NAME.
        max_rows: inputs of a request, at most; `None`: as many as the export says.

    Raises:
        ValueError: if no export of this library is there.
        ImportError: if it reads text and TensorFlow Text is not installed.
    """

    def __init__(self, folder, name=None, max_rows=None):
        self.folder = newest(folder)
        self.name = name or self.folder.parent.name
        self.version = int(self.folder.name)
        self.limits = _limits(self.folder, max_rows)
        graph = saved_model_pb2.SavedModel.FromString(
            (self.folder / GRAPH).read_bytes()
        ).meta_graphs[0]
        _import_text(graph)
        self.definitions = get_model_metadata_pb2.SignatureDefMap()
        self._loaded = tf.saved_model.load(str(self.folder))
        self._signatures = {}
        for key, definition in graph.signature_def.items():
            self.definitions.signature_def[key].CopyFrom(definition)
            if key in self._loaded.signatures:
                self._signatures[key] = Signature.of(key, definition)

    def check(self, name, version=None):
        """Raises `Refused` unless this is the model that is asked for."""
        if name != self.name:
            message = f"there is no model {name!r}: this server has {self.name!r}"
            raise Refused(message, Reason.NOT_FOUND)
        if version not in (None, self.version):
            raise Refused(
                f"model {name!r} has no version {version}: {self.version} is served",
                Reason.NOT_FOUND,
            )

    def signature(self, name) -> Signature:
        """Returns a signature; of an empty name, the default.

        Raises:
            Refused: if there is none of this name.
        """
        found = self._signatures.get(name or DEFAULT)
        if found is None:
            raise Refused(
                f"there is no signature {name!r}: the model has "
                f"{sorted(self._signatures)}",
                Reason.NO_SIGNATURE,
            )
        return found

    def run(self, signature, inputs):
        """Returns the outputs of a signature, arrays by name.

        Args:
            signature: its name.
            inputs: arrays by name.

        Raises:
            Refused: if the model cannot take the inputs.
        """
        given = {name: tf.constant(value) for name, value in inputs.items()}
        try:
            found = self._loaded.signatures[signature](**given)
        except tf.errors.InvalidArgumentError as error:
            raise Refused(f"the model refused the inputs: {_said(error)}") from error
        return {name: value.numpy() for name, value in found.items()}

    def warm_up(self) -> int:
        """Runs the requests that lie beside the model; returns how many."""
        file = self.folder / EXTRA / "tf_serving_warmup_requests"
        if not file.is_file():
            return 0
        records = [*tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
        for record in records:
            log = prediction_log_pb2.PredictionLog.FromString(record)
            request = log.predict_log.request
            request.model_spec.name = self.name
            question = protos.read(request, self)
            self.run(question.signature, question.inputs)
        return len(records)


def newest(folder) -> pathlib.Path:
    """Returns the folder of the newest version.

    Raises:
        ValueError: if there is none.
    """
    folder = pathlib.Path(folder).absolute()
    if folder.name.isdecimal() and (folder / GRAPH).is_file():
        return folder
    found = folder.iterdir() if folder.is_dir() else ()
    versions = [p for p in found if p.name.isdecimal() and (p / GRAPH).is_file()]
    if not versions:
        raise ValueError(
            f"There is no exported model in {str(folder)!r}: give NAME of a folder "
            "NAME/1 that `keras-switch export --output=NAME/1` wrote."
        )
    return max(versions, key=lambda path: int(path.name))


def _limits(folder, max_rows):
    file = folder / EXTRA / "limits.json"
    if not file.is_file():
        raise ValueError(
            f"{str(folder)!r} has no {EXTRA}/limits.json, which says to what lengths "
            "inputs are padded: export the model again with this version."
        )
    told = json.loads(file.read_text())
    return Limits(max_rows or told["max_batch_size"], tuple(told["input_lengths"]))


def _import_text(graph):
    """Makes SentencePiece known to TensorFlow if a graph has it."""
    nodes = (node for f in graph.graph_def.library.function for node in f.node_def)
    if any(node.op.startswith("Sentencepiece") for node in nodes):
        try:
            import tensorflow_text  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "The model reads text, which needs TensorFlow Text: pip install "
                "tensorflow-text, of the same version as TensorFlow."
            ) from error


def _said(error):
    """Returns an error's own words, without the graph that it happened in."""
    return error.message.partition("\n\t [[")[0].splitlines()[-1].strip()
