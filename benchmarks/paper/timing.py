"""Times of a step: all cases of a finding in one process, in turn, on a quiet machine.

python -m benchmarks.paper --times experts choices
"""

from benchmarks import common, report
from benchmarks.paper import runs
from keras_switch import training

STEPS, ROUNDS = 10, 9


def write(name, finding):
    """Times the cases of a finding and writes a table."""
    out = report.Report(f"paper-{name}-times", finding.title)
    cases = [_timed(case) for _, case in finding.runs()]
    timings = common.compare(cases, ROUNDS)
    first, *_ = timings.values()
    heading = f"{STEPS} steps of {runs.BATCH} x {runs.LENGTH} tokens"
    out.table(heading, *report.times(timings, first=first))


def _timed(case):
    """Returns a `common.Case` that makes steps on batches of its own."""
    batches = list(runs.train_data(0, STEPS))
    model = case.fresh(0)
    optimizer = training.Adafactor(case.schedule())
    step = training.TrainStep(model, optimizer, training.losses.TokenCrossEntropy())

    def run(_):
        return sum(float(step(batch)["loss"]) for batch in batches)

    return common.Case(case.name, run)
