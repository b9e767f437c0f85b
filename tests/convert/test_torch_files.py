"""Files of PyTorch, read without it; code in them never runs."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from helpers_checkpoints import as_torch, torch_file
from safetensors.numpy import load_file

from keras_switch import convert
from keras_switch.convert import hugging_face, torch_files


def test_a_file_of_pytorch_is_read_without_pytorch(made, folder):
    as_torch(folder)
    found = hugging_face.read(folder).report
    assert found.checksums == convert.checksums(made[1])


def test_a_real_file_of_pytorch_is_read(made, folder):
    torch = pytest.importorskip("torch", reason="needs PyTorch to write its file")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state = {name: torch.tensor(value) for name, value in tensors.items()}
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    state[name] = state[name].T.contiguous().T  # strides of a transposed tensor
    torch.save(state, folder / "pytorch_model.bin")
    assert hugging_face.read(folder).report.checksums == convert.checksums(made[1])


class Attack:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def test_code_in_a_pickle_never_runs(folder, tmp_path):
    as_torch(folder, extra={"evil": Attack(tmp_path / "ran")})
    with pytest.raises(convert.ConversionError, match=r"wants to use posix\.system"):
        hugging_face.read(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra": {"epoch": 3}}, "more than tensors by name"),
        ({"storage_bytes": lambda data: data[: len(data) // 2]}, "is cut off"),
    ],
)
def test_files_of_pytorch_that_are_not_right_are_refused(folder, options, message):
    as_torch(folder, **options)
    with pytest.raises(convert.ConversionError, match=message):
        hugging_face.read(folder)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ((1, (2, 3), (3, 1)), "reaches beyond its storage"),
        ((0, (2, 3), (4, 1)), "reaches beyond its storage"),
        ((-1, (2, 3), (3, 1)), "has offset -1"),
        ((5, (2, 3), (-3, 1)), "has offset 5"),
        ((0, (2, 3), (3,)), "has offset 0"),
    ],
)
def test_a_tensor_stays_in_its_storage(where, message):
    storage = np.arange(6, dtype="float32")
    found = torch_files._tensor(storage, 0, (2, 3), (3, 1))
    np.testing.assert_array_equal(found, storage.reshape(2, 3))
    with pytest.raises(ValueError, match=message):
        torch_files._tensor(storage, *where)


@pytest.mark.parametrize(
    "pid",
    [
        ("storage", np.float32, "../0", "cpu", 9),
        ("module", np.float32, "0", "cpu", 9),
    ],
)
def test_only_storages_of_the_archive_itself_are_referred_to(pid):
    reader = torch_files._Reader(io.BytesIO(), lambda *_: pytest.fail("it was read"))
    with pytest.raises(pickle.UnpicklingError, match="it refers to"):
        reader.persistent_load(pid)


def test_compressed_and_old_files_are_refused(tmp_path):
    torch_file(tmp_path / "a.bin", {"w": np.zeros(9, "float32")})
    with (
        zipfile.ZipFile(tmp_path / "a.bin") as old,
        zipfile.ZipFile(tmp_path / "b.bin", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(convert.ConversionError, match="is compressed: refused"):
        torch_files.TorchFiles([tmp_path / "b.bin"], "b")
    (tmp_path / "c.bin").write_bytes(torch_files._LEGACY + b"...")
    with pytest.raises(convert.ConversionError, match=r"of PyTorch before 1\.6"):
        torch_files.TorchFiles([tmp_path / "c.bin"], "c")
