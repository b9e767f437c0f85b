"""How far a long piece of work is: Keras's bar on a terminal, elsewhere lines."""

import sys
import time

import keras


class Progress:
    """A bar on a terminal or in a notebook; in a file a line for every tenth.

    Args:
        total: how much there is to do, in bytes, or in what `unit` says.
        label: what is done.
        stream: where lines go, also on a terminal; `None`: a bar, or the standard
            error stream.
        unit: name of what is counted; `None`: bytes, told in megabytes.
    """

    def __init__(self, total: int, label: str, stream=None, unit=None):
        self.total, self.label = max(total, 1), label
        self.unit, self._each, self._digits = (unit, 1, 0) if unit else ("MB", 1e6, 1)
        self.stream = sys.stderr if stream is None else stream
        self.done, self._told, self._start = 0, -1, time.monotonic()
        self._bar = None
        if stream is None and is_interactive():
            print(label, flush=True)
            target = max(1, round(self.total / self._each))
            self._bar = keras.utils.Progbar(target, unit_name=self.unit)

    def __call__(self, size: int, name: str = ""):
        """Adds what was done, `size`; `name` is what it belongs to."""
        self.done += size
        if self._bar is not None:
            done = int(self.done / self._each)
            self._bar.update(done, finalize=self.done >= self.total)
            return
        tenths = 10 * self.done // self.total
        if tenths != self._told:
            self._told = tenths
            print(self._line(name), file=self.stream, flush=True)

    def _line(self, name):
        done, total = (
            f"{x / self._each:,.{self._digits}f}" for x in (self.done, self.total)
        )
        rate = self.done / max(time.monotonic() - self._start, 1e-9) / self._each
        share = f"{self.done / self.total:.0%}, {rate:,.1f} {self.unit}/s"
        return f"{self.label} {done} of {total} {self.unit} ({share}) {name}".rstrip()


def is_interactive():
    """Returns whether there is a terminal or a notebook to draw a bar on."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules
