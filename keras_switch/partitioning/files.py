"""Variables in TensorFlow's checkpoint files: every device's part goes there by itself.

A file knows which slice of which tensor it holds. So parts are written where they are,
and read for any other layout, on any other mesh or on none.
"""

import tensorflow as tf
from tensorflow.experimental import dtensor

from keras_switch.partitioning.transfer import packed, places, slices
from keras_switch.partitioning.variables import MeshVariable

MOST_BYTES = 2**30  # handed to TensorFlow at once: it copies them to the host


def write(prefix, variables, is_first=True):
    """Writes this process's parts of variables; `join` makes one checkpoint of all.

    A part that several devices have is written by one of them, each time another.

    Args:
        prefix: beginning of the names of the files.
        variables: TensorFlow variables by name, the same in every process.
        is_first: whether this process writes the variables that are on no mesh.

    Returns:
        Prefixes of the files that were written.
    """
    entries = [
        (name, *part)
        for index, (name, variable) in enumerate(sorted(variables.items()))
        for part in _mine(variable, index, is_first)
    ]
    written = []
    for group in _grouped(entries):
        written.append(f"{prefix}-{len(written)}")
        names, specs, values = zip(*group, strict=True)
        tf.raw_ops.SaveV2(
            prefix=written[-1],
            tensor_names=names,
            shape_and_slices=specs,
            tensors=values,
        )
    return written


def join(prefixes, prefix):
    """Makes one checkpoint of files that `write` made, which are moved there."""
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=prefixes, destination_prefix=prefix, delete_old_dirs=False
    )


def read(prefix, variables):
    """Assigns variables what a checkpoint holds; each device reads its part.

    Args:
        prefix: path of the checkpoint.
        variables: TensorFlow variables by name.
    """
    for name, variable in variables.items():
        if not isinstance(variable, MeshVariable):
            (value,) = restored(prefix, name, [""], variable.dtype)
            variable.assign(value)
            continue
        shape, layout = tuple(variable.shape), variable.layout
        specs = [spec(shape, where) for where in slices(shape, layout)]
        wanted = [*dict.fromkeys(specs)]
        values = restored(prefix, name, wanted, variable.dtype)
        found = dict(zip(wanted, values, strict=True))
        variable.assign(packed([found[text] for text in specs], layout))


def restored(prefix, name, specs, dtype):
    """Returns slices of a tensor in a checkpoint; see `spec`."""
    return tf.raw_ops.RestoreV2(
        prefix=prefix,
        tensor_names=[name] * len(specs),
        shape_and_slices=specs,
        dtypes=[dtype] * len(specs),
    )


def _mine(variable, index, is_first):
    """Returns `(slice, value)` of the parts that this process writes."""
    if not isinstance(variable, MeshVariable):
        return [("", variable.read_value())] if is_first else []
    shape, layout = tuple(variable.shape), variable.layout
    holders = {}  # of each part, the devices that have it
    for device, where in enumerate(slices(shape, layout, places(layout.mesh))):
        holders.setdefault(spec(shape, where), []).append(device)
    writers = {d[index % len(d)]: text for text, d in holders.items()}
    parts = dtensor.unpack(variable.read_value())
    values = zip(layout.mesh.local_device_ids(), parts, strict=True)
    return [(writers[d], value) for d, value in values if d in writers]


def spec(shape, where):
    """Returns TensorFlow's text for a slice: `8 4 0,2:-`; empty for the whole."""
    spans = [part.indices(size)[:2] for part, size in zip(where, shape, strict=True)]
    pieces = [
        "-" if (start, stop) == (0, size) else f"{start},{stop - start}"
        for (start, stop), size in zip(spans, shape, strict=True)
    ]
    if all(piece == "-" for piece in pieces):
        return ""
    return " ".join([*map(str, shape), ":".join(pieces)])


def _grouped(entries):
    """Yields lists of entries `(name, slice, value)` of about `MOST_BYTES` at most."""
    group, size = [], 0
    for entry in entries:
        value = entry[-1]
        bytes_ = value.shape.num_elements() * value.dtype.size
        if group and size + bytes_ > MOST_BYTES:
            yield group
            group, size = [], 0
        group.append(entry)
        size += bytes_
    if group:
        yield group
