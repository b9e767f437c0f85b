"""How much memory something takes at its peak, by Linux's own account."""

import ctypes
import pathlib
import sys

import pytest

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def memory(what):
    """Returns an entry of this process's memory in bytes."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return 1024 * int(line.split()[1])


def peak(action):
    """Returns the most memory that was there during a call, above what was before.

    Pages of mapped files do not count: the system takes them back when it needs them.
    Where it does so during a call, they look like memory of ours: a call can only seem
    to need too much, so this is the least of three that do the same.
    """
    return min(_peak(action) for _ in range(3))


def _peak(action):
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, mapped = memory("VmRSS"), memory("RssFile")
    action()
    return memory("VmHWM") - before - (memory("RssFile") - mapped)
