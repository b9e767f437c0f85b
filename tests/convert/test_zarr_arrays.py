"""Parts of zarr's arrays, unpacked as a stream, against TensorStore."""

import json

import numpy as np
import pytest
import tensorstore

from keras_switch.convert.zarr_arrays import ZarrArray, can_stream

SHAPE, CHUNKS = (7, 5, 6), (3, 5, 4)
PARTS = [
    (slice(None), slice(None), slice(None)),
    (slice(0, 3), slice(None), slice(None)),
    (slice(2, 5), slice(1, 4), slice(3, 5)),
    (slice(6, 7), slice(0, 1), slice(5, 6)),
    (slice(4, 4), slice(None), slice(None)),
]


def written(folder, dtype="float32", **metadata):
    """Writes an array with TensorStore; returns it and what it says of itself."""
    value = np.random.default_rng(0).random(SHAPE).astype(dtype)
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "metadata": {
            "shape": SHAPE,
            "chunks": CHUNKS,
            "compressor": {"id": "gzip", "level": 1},
            **metadata,
        },
    }
    opened = tensorstore.open(spec, create=True, dtype=value.dtype.name).result()
    opened.write(value).result()
    return value, json.loads((folder / ".zarray").read_text())


@pytest.mark.parametrize("options", [{}, {"dimension_separator": "/"}])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_part_is_what_was_written(tmp_path, dtype, options):
    value, meta = written(tmp_path, dtype, **options)
    assert can_stream(meta)
    array = ZarrArray(tmp_path, meta)
    assert (array.shape, array.dtype) == (SHAPE, value.dtype)
    for where in (*PARTS, *reversed(PARTS)):
        np.testing.assert_array_equal(array[where], value[where])
    array.close()
    np.testing.assert_array_equal(array[PARTS[2]], value[PARTS[2]])


@pytest.mark.parametrize(
    "metadata", [{"compressor": None}, {"compressor": {"id": "zlib"}}, {"order": "F"}]
)
def test_arrays_of_other_forms_are_left_to_tensorstore(tmp_path, metadata):
    assert not can_stream(written(tmp_path, **metadata)[1])


def test_a_chunk_that_is_not_there_is_filled(tmp_path):
    value, meta = written(tmp_path)
    (tmp_path / "1.0.0").unlink()
    value[3:6, :, :4] = 0
    np.testing.assert_array_equal(ZarrArray(tmp_path, meta)[PARTS[0]], value)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda data: data[: len(data) // 2], EOFError),
        (lambda data: data[:-8] + b"\0\0\0\0" + data[-4:], OSError),  # its sum
        (lambda data: b"not gzip", OSError),
    ],
)
def test_a_damaged_chunk_is_an_error(tmp_path, spoil, error):
    _, meta = written(tmp_path)
    chunk = tmp_path / "0.0.0"
    chunk.write_bytes(spoil(chunk.read_bytes()))
    with pytest.raises(error):
        ZarrArray(tmp_path, meta)[PARTS[0]]


def test_a_chunk_of_another_size_is_an_error(tmp_path):
    _, meta = written(tmp_path)
    with pytest.raises(EOFError, match=r"chunk 0\.0\.0 has another size"):
        ZarrArray(tmp_path, {**meta, "chunks": [2, 5, 4]})[PARTS[0]]
