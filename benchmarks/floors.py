"""What no implementation can beat: the experts' matmuls alone, and moving the weights.

Axes: E experts, R rows of an expert, D d_model, F d_ff.
"""

import threading
import time

import numpy as np
import tensorflow as tf

from benchmarks.common import Case, Timing, cores


def compute(point):
    """Returns cases of the six matmuls of a step, batched and expert by expert."""
    e, r, d, f = point.num_experts, point.rows, point.d_model, point.d_ff
    draw = tf.random.stateless_normal
    x, dy = draw((e, r, d), (0, 0)), draw((e, r, d), (0, 1))
    wi, wo = draw((e, d, f), (0, 2)), draw((e, f, d), (0, 3))
    batched = _case("matmuls alone, batched", _matmuls, (x, dy, wi, wo))
    each = [[t[i] for t in (x, dy, wi, wo)] for i in range(e)]

    def loop(flat):
        return [_matmuls(*four) for four in flat]

    return [batched, _case("matmuls alone, one by one", loop, (each,))]


def _matmuls(x, dy, wi, wo):
    h = tf.matmul(x, wi)
    dh = tf.matmul(dy, wo, transpose_b=True)
    return (
        tf.matmul(h, wo),
        tf.matmul(h, dy, transpose_a=True),
        tf.matmul(x, dh, transpose_a=True),
        tf.matmul(dh, wi, transpose_b=True),
    )


def _case(name, function, args):
    compiled = tf.function(function)

    def run(i):
        results = tf.nest.flatten(compiled(*args))
        return float(tf.reshape(results[-1], (-1,))[0])

    return Case(name, run)


def memory(point):
    """Returns the least seconds to read the experts' weights twice and write gradients.

    Both weights are read forwards and backwards, and their gradients written once.
    """
    size = 2 * point.num_experts * point.d_model * point.d_ff * 4
    return 2 * size / bandwidth("read") + size / bandwidth("write")


def bandwidth(kind):
    """Returns bytes a second of all cores reading (or writing) memory they have."""
    if kind not in _BANDWIDTH:
        _BANDWIDTH[kind] = _measure(kind)
    return _BANDWIDTH[kind]


_BANDWIDTH = {}


def _measure(kind, size=2**28):
    parts = [np.ones(size // 4, "float32") for _ in range(cores())]
    work = (lambda x: x.dot(x)) if kind == "read" else (lambda x: x.fill(1.0))
    best = min(_in_parallel(work, parts) for _ in range(5))
    return size * len(parts) / best


def _in_parallel(work, parts):
    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def larger(timings, names, memory_seconds):
    """Returns the larger floor as a `Timing`: the best matmuls, or memory."""
    best = min((timings[name] for name in names), key=lambda timing: timing.median)
    seconds = {i: max(s, memory_seconds) for i, s in best.seconds.items()}
    return Timing("floor", best.first, seconds)
