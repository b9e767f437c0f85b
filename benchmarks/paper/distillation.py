"""Table 6: what a dense student keeps of its sparse teacher's gain.

Teacher and dense model are cases of `pretraining.experts`.
"""

import dataclasses
import functools

from benchmarks.paper.pretraining import DENSE, DENSE_CASE, EXPERTS, sparse_case
from benchmarks.paper.runs import Case, trained
from keras_switch.distillation import DistillStep, NonExpertWeights, SoftTargets
from keras_switch.training import TrainStep


@dataclasses.dataclass(frozen=True)
class Student(Case):
    """A student that may start from its teacher's weights and listen to it.

    Args:
        teacher: its `Case`.
        initialize: which weights it takes; `None` for none.
        soft_targets: how much it listens; `None` for not at all.
    """

    teacher: Case = dataclasses.field(default_factory=lambda: sparse_case(EXPERTS))
    initialize: NonExpertWeights | None = None
    soft_targets: SoftTargets | None = None

    def train(self, seed):
        teacher = trained("experts", self.teacher, seed)
        student = self.fresh(seed)
        if self.initialize is not None:
            self.initialize.copy(teacher, student)
        make_step = TrainStep
        if self.soft_targets is not None:
            make_step = functools.partial(
                DistillStep, teacher=teacher, soft_targets=self.soft_targets
            )
        return student, self.fit(student, seed, make_step=make_step)


def students():
    """Returns the rows of table 6."""
    rows = {
        "distillation": (None, SoftTargets(weight=1.0)),
        "+ non-expert weights": (NonExpertWeights(), SoftTargets(weight=1.0)),
        "+ 0.75 hard": (NonExpertWeights(), SoftTargets()),
        "weights only": (NonExpertWeights(), None),
    }
    cases = [
        Student(name, DENSE, initialize=weights, soft_targets=soft)
        for name, (weights, soft) in rows.items()
    ]
    first = [("experts", DENSE_CASE), ("experts", sparse_case(EXPERTS))]
    return [*first, *(("distillation", case) for case in cases)]
