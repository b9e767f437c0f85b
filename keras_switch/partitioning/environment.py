"""The variables of the environment by which a launcher tells each process its place.

    DTENSOR_JOBS                   host:port of every process, with commas; the first is
                                   also the place where they meet
    DTENSOR_CLIENT_ID              number of this process, from 0
    DTENSOR_NUM_CLIENTS            number of processes
    DTENSOR_JOB_NAME               a name that all share, "worker"
    KERAS_SWITCH_VIRTUAL_DEVICES   CPU devices that this process makes; for runs that
                                   try a mesh without accelerators

The first four are TensorFlow's. Without `DTENSOR_JOBS` there is one process.
"""

import os

from keras_switch.partitioning.mistakes import refuse

JOBS = "DTENSOR_JOBS"
CLIENT_ID = "DTENSOR_CLIENT_ID"
NUM_CLIENTS = "DTENSOR_NUM_CLIENTS"
VIRTUAL_DEVICES = "KERAS_SWITCH_VIRTUAL_DEVICES"


def check():
    """Raises `ValueError` with every mistake in these variables."""
    refuse("The environment of this process is wrong", [*_mistakes()])


def num_processes() -> int:
    """Returns the number of processes that the environment speaks of."""
    return max(1, len(_jobs()))


def virtual_devices() -> int | None:
    """Returns how many CPU devices this process is to make, if that is said."""
    text = os.environ.get(VIRTUAL_DEVICES)
    return int(text) if text else None


def _jobs():
    return [job for job in os.environ.get(JOBS, "").split(",") if job]


def _mistakes():
    jobs = _jobs()
    for job in jobs:
        host, _, port = job.rpartition(":")
        if not (host and port.isdecimal()):
            yield f"{JOBS}: {job!r} is no host:port"
    for name in {job for job in jobs if jobs.count(job) > 1}:
        yield f"{JOBS}: {name!r} is there twice; every process needs a port of its own"
    number = os.environ.get(NUM_CLIENTS) or str(num_processes())
    if number != str(num_processes()):
        yield (
            f"{NUM_CLIENTS}={number}, but {JOBS} names {len(jobs)} processes: give one "
            "host:port for each"
        )
    place = os.environ.get(CLIENT_ID)
    if len(jobs) > 1 and not place:
        yield f"{CLIENT_ID} is missing: number the processes from 0 to {len(jobs) - 1}"
    if place and not (place.isdecimal() and int(place) < num_processes()):
        yield f"{CLIENT_ID}={place}: give a number from 0 to {num_processes() - 1}"
    devices = os.environ.get(VIRTUAL_DEVICES)
    if devices and not (devices.isdecimal() and int(devices)):
        yield f"{VIRTUAL_DEVICES}={devices}: give a whole number above 0"
