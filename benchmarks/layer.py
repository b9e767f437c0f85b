"""The sparse layer against its dense twin, floors, and other libraries.

Forward and backward, float32, gradients for inputs and all weights.
"""

import argparse

from benchmarks import common, floors, memory, ours, peers, report

POINTS = [(tokens, e) for tokens in (4096, 16384) for e in (8, 32, 128)]
DENSE_LIMIT = 1.05
"""Times cf times the dense layer's time, except where weights bound it."""
FLOOR_LIMIT = 1.1
PEERS = ("einsum", "Model Garden", "KerasHub", "Hugging Face SparseMLP")
UNBOUND = {point for point in POINTS if point != (4096, 128)}


def main(argv=None):
    """Runs the benchmark."""
    args = _arguments(argv)
    out = report.Report("layer", "One layer: forward and backward")
    for tokens, num_experts in POINTS:
        if tokens in args.tokens and num_experts in args.experts:
            _point(out, ours.Point(tokens, num_experts), args)
    if not args.no_memory:
        memory.add(out, args.experts)


def _arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[4096, 16384])
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-memory", action="store_true")
    return parser.parse_args(argv)


def _point(out, point, args):
    print(f"{point.tokens} tokens, {point.num_experts} experts ...", flush=True)
    ceilings = floors.compute(point)
    cases = [ours.dense(point), *_forms(point), *ceilings]
    if not args.no_peers:
        cases += common.attempt(peers.ALL, point)
    timings = common.compare(cases, args.rounds)
    seconds = floors.memory(point)
    floor = floors.larger(timings, [case.name for case in ceilings], seconds)
    columns, rows, numbers = report.times(timings, dense=timings["dense"], floor=floor)
    numbers["memory floor"] = seconds
    heading = f"{point.tokens} tokens, {point.num_experts} experts"
    out.table(heading, columns, rows, numbers)
    out.lines(_verdict(point, timings, floor, seconds))


def _forms(point):
    from keras_switch import dispatch

    shared = ours.Shared(point)
    large = dispatch.FixedGroups(4096)
    return [
        shared.case("gather", dispatch.GatherDispatch()),
        shared.case("gather, groups of 4096", dispatch.GatherDispatch(), large),
        shared.case("gather, jit_compile", dispatch.GatherDispatch(), None, True),
        shared.case("einsum", dispatch.EinsumDispatch()),
        shared.case("einsum, groups of 4096", dispatch.EinsumDispatch(), large),
        shared.case("dropless", dispatch.DroplessDispatch()),
    ]


def _verdict(point, timings, floor, memory_seconds):
    gather, dense = timings["gather"], timings["dense"]
    yield f"memory floor {memory_seconds * 1e3:.0f} ms"
    yield report.verdict("gather to the larger floor", gather, floor, FLOOR_LIMIT)
    if (point.tokens, point.num_experts) in UNBOUND:
        limit = DENSE_LIMIT * point.capacity
        yield report.verdict("gather to dense", gather, dense, limit)
    for name, timing in timings.items():
        if name.startswith(PEERS):
            yield report.verdict(f"gather to {name}", gather, timing, 1.0)


if __name__ == "__main__":
    main()
