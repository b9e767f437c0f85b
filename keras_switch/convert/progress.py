"""How far a conversion is, in bytes."""

import sys
import time


class Progress:
    """A bar on a terminal; in a file a line for every tenth.

    Args:
        total: bytes.
        label: what is done.
        stream: where to write; by default the standard error stream.
    """

    def __init__(self, total: int, label: str, stream=None):
        self.total, self.label = max(total, 1), label
        self.stream = sys.stderr if stream is None else stream
        self.done, self._told, self._start = 0, -1, time.monotonic()

    def __call__(self, size: int, name: str = ""):
        """Adds `size` bytes; `name` is what they belong to."""
        self.done += size
        tenths = 10 * self.done // self.total
        live = self.stream.isatty()
        if not live and tenths == self._told:
            return
        self._told = tenths
        rate = self.done / max(time.monotonic() - self._start, 1e-9)
        text = (
            f"{self.label} {self.done / 1e6:,.1f} of {self.total / 1e6:,.1f} MB "
            f"({self.done / self.total:.0%}, {rate / 1e6:,.0f} MB/s) {name}"
        )
        if live:
            text = f"\r\x1b[K{text[:100]}"
        end = "\n" if not live or self.done >= self.total else ""
        print(text, end=end, file=self.stream, flush=True)
