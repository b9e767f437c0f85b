"""Between the host and the devices: whole values there, parts of them here."""

import keras
import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor


def put(value, layout):
    """Returns a host value as a DTensor; each device gets its part and no more.

    Args:
        value: array or host tensor, the whole of it; on several processes each must
            have the same.
        layout: `dtensor.Layout`.
    """
    value = np.asarray(value)
    where = slices(value.shape, layout)
    return packed([value[part] for part in where], layout)


def pack_local(rows, layout):
    """Returns the rows of all processes as one DTensor, split along the first axis.

    Args:
        rows: array or host tensor, this process's part of the batch; each process must
            have as many rows. Processes whose devices hold the same rows, or all of
            them, must have the same.
        layout: `dtensor.Layout` of the whole, splitting the first axis or nothing.

    Raises:
        ValueError: if the devices of this process cannot share the rows evenly.
    """
    rows = np.asarray(rows)
    axis = layout.sharding_specs[0]
    if axis == dtensor.UNSHARDED:
        return put(rows, layout)
    places = [place.get(axis, 0) for place in layout.mesh.local_device_locations()]
    mine = sorted(set(places))
    each, rest = divmod(len(rows), len(mine))
    if rest:
        raise ValueError(
            f"This process has {len(rows)} rows of a batch for {len(mine)} parts of "
            f"the mesh axis {axis!r}: give every process a multiple of {len(mine)} "
            "rows, always the same number (drop_remainder=True of a dataset)."
        )
    first = [mine.index(place) * each for place in places]
    return packed([rows[i : i + each] for i in first], layout)


def full(value):
    """Returns the whole of a DTensor, variable or host tensor as a NumPy array.

    On several processes every one must call this: parts travel between them.
    """
    if isinstance(value, keras.Variable):
        value = value.value
    if isinstance(value, tf.Variable):
        value = value.read_value()
    if isinstance(value, tf.IndexedSlices):
        value = tf.convert_to_tensor(value)
    if not (tf.is_tensor(value) and dtensor.is_dtensor(value)):
        return np.asarray(value)
    layout = dtensor.fetch_layout(value)
    if layout.is_fully_replicated():
        return dtensor.unpack(value)[0].numpy()
    if layout.mesh.num_local_devices() < layout.mesh.size:
        whole = dtensor.Layout.replicated(layout.mesh, value.shape.rank)
        return dtensor.unpack(dtensor.relayout(value, whole))[0].numpy()
    result = np.empty(value.shape, value.dtype.as_numpy_dtype)
    for part, where in zip(
        dtensor.unpack(value), slices(value.shape, layout), strict=True
    ):
        result[where] = part.numpy()
    return result


def slices(shape, layout, locations=None):
    """Returns the part of a tensor that each device of this process holds.

    Args:
        shape: of the tensor.
        layout: `dtensor.Layout`.
        locations: places of other devices, such as `places(mesh)`.
    """
    mesh = layout.mesh
    return [
        tuple(
            _slice(size, mesh, spec, place)
            for size, spec in zip(shape, layout.sharding_specs, strict=True)
        )
        for place in locations or mesh.local_device_locations()
    ]


def places(mesh):
    """Returns the place, number by axis, of every device in a mesh, by its number."""
    by_device = mesh.unravel_index()
    return [by_device[device] for device in range(mesh.size)]


def _slice(size, mesh, spec, place):
    if spec == dtensor.UNSHARDED:
        return slice(None)
    each = size // mesh.dim_size(spec)
    return slice(place[spec] * each, (place[spec] + 1) * each)


def packed(parts, layout):
    """Returns a DTensor of what each device of this process gets."""
    tensors = []
    for part, device in zip(parts, layout.mesh.local_devices(), strict=True):
        with tf.device(device):
            tensors.append(tf.constant(part))
    return dtensor.pack(tensors, layout)
