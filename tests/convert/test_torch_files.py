"""Files of PyTorch, read without it; code in them never runs."""

import os

import pytest
from helpers_checkpoints import as_torch
from safetensors.numpy import load_file

from keras_switch import convert
from keras_switch.convert import hugging_face


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
