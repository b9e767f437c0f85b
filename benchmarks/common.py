"""Timing: cases run in turn, round after round, so that all see the same machine."""

import dataclasses
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable

SLOW = 3.0
"""A case this many times slower than the first runs in `SLOW_ROUNDS` rounds only."""
SLOW_ROUNDS = 3


class Absent(Exception):
    """A peer that cannot run here; the message says why."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to time.

    Args:
        name: how tables call it.
        run: does the work of round `i` on inputs that differ from round to round,
            waits for it, frees all results, and returns a number that depends on it.
    """

    name: str
    run: Callable[[int], float]


@dataclasses.dataclass
class Timing:
    """Seconds of a case, by round.

    Args:
        name: the case's.
        seconds: `{round: seconds}`.
        first: seconds of the first call: tracing, compilation, first use of memory.
    """

    name: str
    first: float
    seconds: dict[int, float] = dataclasses.field(default_factory=dict)

    @property
    def median(self):
        return statistics.median(self.seconds.values())

    @property
    def spread(self):
        """Half the distance between the quartiles, as a share of the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds.values(), n=4)
        return (high - low) / 2 / self.median

    def ratio(self, base):
        """Returns the median over rounds of this time by that of `base`."""
        both = self.seconds.keys() & base.seconds.keys()
        return statistics.median(self.seconds[i] / base.seconds[i] for i in both)


def compare(cases, rounds):
    """Returns `{name: Timing}` of cases run in turn, forwards and backwards by rounds.

    Args:
        cases: list of `Case`; the first is the measure of what is slow.
        rounds: how many rounds to time, after one of warm-up.
    """
    timings = {}
    for case in cases:
        timings[case.name] = Timing(case.name, _seconds(case, 0))
        _seconds(case, 1)
    for i in range(rounds):
        for case in cases if i % 2 else reversed(cases):
            if not _is_slow(timings, case, cases[0]):
                timings[case.name].seconds[i] = _seconds(case, i)
    return timings


def _is_slow(timings, case, base):
    done, measure = timings[case.name].seconds, timings[base.name].seconds
    if len(done) < SLOW_ROUNDS or not measure:
        return False
    return timings[case.name].median > SLOW * timings[base.name].median


def _seconds(case, i):
    start = time.perf_counter()
    value = case.run(i)
    seconds = time.perf_counter() - start
    if value != value:
        raise ValueError(f"{case.name} gave {value} in round {i}: timed nonsense.")
    return seconds


def attempt(makers, *args):
    """Returns the cases of `makers` that can run here; says what the others lack."""
    cases = []
    for make in makers:
        try:
            cases.append(make(*args))
        except Absent as reason:
            print(f"  skipped {make.__name__}: {reason}", flush=True)
    return cases


def cores():
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def status(key):
    """Returns a field of this process's status, in bytes."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}: memory is measured on Linux only.")


def machine():
    """Returns a line about the machine and the versions of what was measured."""
    import keras
    import tensorflow as tf

    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    try:
        import torch

        versions["torch"] = torch.__version__
    except ModuleNotFoundError:
        pass
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    load = os.getloadavg()[0]
    return (
        f"{_processor()}, {cores()} cores, Python {platform.python_version()}, "
        f"{named}; load {load:.1f}"
    )


def _processor():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(x.split(":")[1].strip() for x in lines if "model name" in x)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
