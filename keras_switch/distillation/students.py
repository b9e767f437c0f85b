"""A student's first weights: those of its teacher that are of no expert."""

import dataclasses
import re

import keras

from keras_switch.convert import placing
from keras_switch.routing.part import Part

_BLOCK = re.compile(r"(encoder|decoder)/block_(\d+)(_extra)?/(.*)")
_OF_EXPERTS = re.compile(r".*/(experts|router)/.*")


@dataclasses.dataclass(frozen=True)
class Inherited:
    """What a student got from its teacher.

    Args:
        copied: path of the teacher's weight by the student's.
        fresh: paths of the student that the teacher has nothing for.
        reshaped: the same, because what it has is of another shape.
        unused: paths of the teacher that nothing was made of.
    """

    copied: dict[str, str]
    fresh: tuple[str, ...]
    reshaped: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self):
        lines = [
            f"{len(self.copied)} weights of the student are the teacher's; "
            f"{len(self.unused)} of the teacher's are not used"
        ]
        for name, paths in (("fresh", self.fresh), ("other shape", self.reshaped)):
            lines += [f"  {name}: {path}" for path in paths]
        return "\n".join(lines)


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class NonExpertWeights(Part):
    """Takes every weight but those of experts and routers, by its path.

    arXiv:2101.03961, section 3.2. A student with fewer layers takes those of evenly
    spread ones of the teacher, the first and the last among them: layer `i` of `n` that
    of number `round(i * (N - 1) / (n - 1))` of `N`.

    Args:
        encoder_layers: numbers of the teacher's layers, one for each of the student's
            encoder; `None`: evenly spread.
        decoder_layers: the same for the decoder.
    """

    encoder_layers: tuple[int, ...] | None = None
    decoder_layers: tuple[int, ...] | None = None

    def copy(self, teacher, student) -> Inherited:
        """Copies the weights, one at a time.

        Args:
            teacher: `SwitchSeq2SeqLM`, `SwitchCausalLM` or `SwitchBackbone`, on its
                mesh or on none.
            student: the same, on another mesh or on none.

        Raises:
            ValueError: if the student has more layers, or nothing fits.
        """
        given = {variable.path: variable for variable in teacher.weights}
        layers = self._layers(_depths(given), _depths(v.path for v in student.weights))
        copied, fresh, reshaped = {}, [], []
        for variable in student.weights:
            path = _theirs(variable.path, layers)
            if path not in given or _OF_EXPERTS.fullmatch(path):
                fresh.append(variable.path)
            elif tuple(given[path].shape) != tuple(variable.shape):
                reshaped.append(variable.path)
            else:
                copied[variable.path] = path
        if not copied:
            raise ValueError(
                f"No weight of the teacher {teacher.name!r} fits the student "
                f"{student.name!r}: {len(reshaped)} are of another shape. Give the "
                "student the teacher's d_model, d_kv, num_heads and vocab_size."
            )
        for variable in student.weights:
            if variable.path in copied:
                placing.copy(given[copied[variable.path]], variable)
        unused = [path for path in given if path not in set(copied.values())]
        return Inherited(copied, tuple(fresh), tuple(reshaped), tuple(unused))

    def _layers(self, theirs, ours):
        """Returns the teacher's layers for each of the student's, by stack."""
        found = {}
        for stack, number in ours.items():
            wanted = getattr(self, f"{stack}_layers")
            if wanted is None:
                wanted = spread(number, theirs.get(stack, 0), stack)
            wrong = [i for i in wanted if not 0 <= i < theirs.get(stack, 0)]
            if len(wanted) != number or wrong:
                raise ValueError(
                    f"{stack}_layers={tuple(wanted)}: give {number} numbers of layers "
                    f"of the teacher, below {theirs.get(stack, 0)}."
                )
            found[stack] = wanted
        return found


def spread(number, of, stack="stack"):
    """Returns which layers of a deeper stack a shallower one takes.

    Raises:
        ValueError: if the stack is not deeper.
    """
    if number > of:
        raise ValueError(
            f"The student's {stack} has {number} layers, the teacher's {of}: a student "
            "has as many at most."
        )
    if number == 1:
        return (0,)
    return tuple(round(i * (of - 1) / (number - 1)) for i in range(number))


def _depths(paths):
    """Returns the number of layers of each stack."""
    depths = {}
    for path in paths:
        block = _BLOCK.fullmatch(path)
        if block:
            depths[block[1]] = max(depths.get(block[1], 0), int(block[2]) + 1)
    return depths


def _theirs(path, layers):
    """Returns the path of the teacher's weight for one of the student's."""
    block = _BLOCK.fullmatch(path)
    if not block:
        return path
    stack, number, extra, rest = block.groups()
    return f"{stack}/block_{layers[stack][int(number)]}{extra or ''}/{rest}"
