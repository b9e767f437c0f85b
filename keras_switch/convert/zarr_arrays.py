"""Arrays of zarr, version 2, whose rows are unpacked as they are asked for.

A chunk is compressed as one piece, and T5X's may be as large as a tensor; but gzip can
be unpacked from its beginning, some rows at a time, so that no chunk is ever in memory.
"""

import gzip
import itertools
import math

import numpy as np


def can_stream(meta: dict) -> bool:
    """Returns whether `ZarrArray` reads an array.

    Args:
        meta: contents of its `.zarray`.
    """
    compressor = (meta.get("compressor") or {}).get("id")
    plain = meta.get("order") == "C" and not meta.get("filters")
    return compressor == "gzip" and plain and bool(meta["shape"])


class ZarrArray:
    """One array; `array[slices]` reads a part of it.

    Going on where the last part ended costs nothing. Going back begins the chunk anew.

    Args:
        folder: folder of the array.
        meta: contents of its `.zarray`, for which `can_stream`.
    """

    def __init__(self, folder, meta):
        self.shape, self.dtype = tuple(meta["shape"]), np.dtype(meta["dtype"])
        self._folder, self._chunk = folder, tuple(meta["chunks"])
        self._dot = meta.get("dimension_separator", ".")
        self._fill = meta.get("fill_value") or 0
        self._open = {}  # files by place of the chunk; of one row of chunks at a time

    def __getitem__(self, where):
        spans = [
            part.indices(size)[:2] for part, size in zip(where, self.shape, strict=True)
        ]
        result = np.empty([stop - start for start, stop in spans], self.dtype)
        ranges = [
            range(start // size, -(-stop // size))
            for (start, stop), size in zip(spans, self._chunk, strict=True)
        ]
        for place in itertools.product(*ranges):
            into, cut = [], []
            for at, size, (start, stop) in zip(place, self._chunk, spans, strict=True):
                low, high = max(start, at * size), min(stop, (at + 1) * size)
                into.append(slice(low - start, high - start))
                cut.append(slice(low - at * size, high - at * size))
            rows, *rest = cut
            block = self._rows(place, rows.start, rows.stop)
            result[tuple(into)] = block[(slice(None), *rest)]
        return result

    def close(self):
        """Closes its files; reading opens them again."""
        while self._open:
            self._open.popitem()[1].close()

    def _rows(self, place, start, stop):
        """Returns some rows of one chunk."""
        file, row = self._file(place), self._chunk[1:]
        if file is None:
            return np.full((stop - start, *row), self._fill, self.dtype)
        bytes_ = math.prod(row) * self.dtype.itemsize
        file.seek(start * bytes_)
        wanted = (stop - start) * bytes_
        data = file.read(wanted)
        if len(data) < wanted or (stop == self._chunk[0] and file.read(1)):
            raise EOFError(f"chunk {self._dot.join(map(str, place))} has another size")
        return np.frombuffer(data, self.dtype).reshape(stop - start, *row)

    def _file(self, place):
        """Returns the open file of a chunk, or `None` if it is not there."""
        if any(other[0] != place[0] for other in self._open):
            self.close()
        if place not in self._open:
            path = self._folder / self._dot.join(map(str, place))
            if not path.is_file():
                return None
            self._open[place] = gzip.open(path)  # noqa: SIM115
        return self._open[place]
