"""Checkpoint files of other libraries, made by hand; small models to put in them."""

import io
import json
import pathlib
import pickle
import sys
import types
import zipfile

import helpers_models
import numpy as np
from safetensors.numpy import load_file

from keras_switch import models
from keras_switch.convert import hugging_face
from keras_switch.convert.model import build
from keras_switch.routing import FixedCapacity, Switch

STORAGES = {"float32": "FloatStorage", "bfloat16": "BFloat16Storage"}


def small(num_experts=3, **changes):
    """Returns a model that every format can say."""
    sparse = models.Sparse(
        num_experts,
        placement=models.HuggingFace(2),
        decoder_placement=models.HuggingFace(2),
        routing=Switch(capacity=FixedCapacity(9)),
        expert_dropout_rate=0.0,
        layer_losses=models.LayerMean(),
    )
    config = helpers_models.tiny(**{"sparse": sparse, **changes})
    model = build(config)
    helpers_models.scatter(model)
    return model


def hugging_face_folder(folder, **changes):
    """Writes a model in Hugging Face's format; returns the model."""
    folder.mkdir(exist_ok=True, parents=True)
    model = small(**changes)
    hugging_face.write(model, folder)
    return model


def change_json(file: pathlib.Path, **values):
    """Changes values in a JSON file; `None` takes one out."""
    found = {**json.loads(file.read_text()), **values}
    kept = {name: value for name, value in found.items() if value is not None}
    file.write_text(json.dumps(kept))


class _Tensor:
    """What the pickle of a tensor refers to."""

    def __init__(self, key, array):
        self.key, self.array = key, array


def torch_file(path, tensors, extra=None, storage_bytes=None):
    """Writes what `torch.save` writes for a dictionary of tensors.

    Args:
        path: the file.
        tensors: arrays by name.
        extra: further entries of the dictionary, pickled as they are.
        storage_bytes: function that changes the bytes of a storage.
    """
    program, storages = io.BytesIO(), {}
    with _modules_of_torch() as (rebuild, kinds):
        pickler = pickle.Pickler(program, 2)
        pickler.persistent_id = lambda thing: (
            (
                "storage",
                kinds[thing.array.dtype.name],
                thing.key,
                "cpu",
                thing.array.size,
            )
            if isinstance(thing, _Tensor)
            else None
        )
        entries = {}
        for number, (name, array) in enumerate(tensors.items()):
            storages[str(number)] = np.ascontiguousarray(array)
            entries[name] = _Reduced(
                rebuild, _Tensor(str(number), storages[str(number)]), array
            )
        pickler.dump({**entries, **(extra or {})})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", program.getvalue())
        for key, array in storages.items():
            data = array.tobytes()
            archive.writestr(
                f"archive/data/{key}", storage_bytes(data) if storage_bytes else data
            )


def as_torch(folder, **options):
    """Turns the weights of a folder into PyTorch's file; returns them."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch_file(folder / "pytorch_model.bin", tensors, **options)
    return tensors


class _Reduced:
    def __init__(self, rebuild, storage, array):
        self._made = rebuild, storage, array

    def __reduce__(self):
        rebuild, storage, array = self._made
        strides = tuple(
            s // array.itemsize for s in np.ascontiguousarray(array).strides
        )
        return rebuild, (storage, 0, array.shape, strides, False, {})


class _modules_of_torch:
    """Modules that a pickler finds under the names of PyTorch's."""

    def __enter__(self):
        def rebuild(*arguments):
            raise AssertionError("never called")

        rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
        torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
        utils._rebuild_tensor_v2, torch._utils = rebuild, utils
        kinds = {}
        for dtype, name in STORAGES.items():
            kinds[dtype] = type(name, (), {"__module__": "torch"})
            setattr(torch, name, kinds[dtype])
        self._before = {
            name: sys.modules.get(name) for name in ("torch", "torch._utils")
        }
        sys.modules.update({"torch": torch, "torch._utils": utils})
        return rebuild, kinds

    def __exit__(self, *_):
        for name, module in self._before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
