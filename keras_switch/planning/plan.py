"""What a training step will need and how long it will take, before anything is made."""

import dataclasses

import keras

from keras_switch.models.config import ModelConfig
from keras_switch.models.count import count
from keras_switch.partitioning import LayoutRules, MeshShape
from keras_switch.planning import advice
from keras_switch.planning.batch import Batch
from keras_switch.planning.chips import Chip
from keras_switch.planning.chips import chip as chip_of
from keras_switch.planning.collectives import Collective, Layout, collectives
from keras_switch.planning.memory import Memory, memory
from keras_switch.planning.timing import Flops, Time, flops, timing
from keras_switch.planning.walk import walk
from keras_switch.training import Adafactor


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training step on a mesh of chips.

    Args:
        mesh: shape of the mesh.
        rules: its layout.
        devices: chips in it.
        batch: sequences and lengths.
        chip: the accelerator.
        precision: dtype policy.
        optimizer: name of its class.
        parameters: of the model.
        active_parameters: those that a token meets.
        memory: bytes on each device.
        flops: of the step.
        collectives: every message of the step.
        time: of the step.
        mfu: share of the peak rate that the model's own FLOPs take in `time.step`.
        hfu: the same of all FLOPs that are done once for a batch.
        mistakes: what makes the layout impossible; the numbers then take the
            dimensions at fault as whole.
        warnings: what the layout wastes.
    """

    mesh: MeshShape
    rules: LayoutRules
    devices: int
    batch: Batch
    chip: Chip
    precision: str
    optimizer: str
    parameters: int
    active_parameters: int
    memory: Memory
    flops: Flops
    collectives: tuple[Collective, ...]
    time: Time
    mfu: float
    hfu: float
    mistakes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether everything fits the memory of a chip."""
        return self.memory.total <= self.chip.memory

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all devices, inputs and targets."""
        return self.batch.tokens / self.time.step

    def as_dict(self) -> dict:
        """Returns everything as JSON has it."""
        found = dataclasses.asdict(self)
        found |= {"mesh": str(self.mesh), "rules": str(self.rules)}
        derived = {"fits": self.fits, "tokens_per_second": self.tokens_per_second}
        return {**found, **derived}

    def __str__(self):
        from keras_switch.planning.report import text

        return text(self)


def plan(
    config: ModelConfig,
    mesh: MeshShape | str,
    rules: LayoutRules | str | None,
    batch: Batch | int,
    chip: Chip | str = "tpu_v4",
    optimizer=None,
    precision: str = "mixed_bfloat16",
) -> Plan:
    """Plans a training step; nothing is allocated.

    Args:
        config: the model.
        mesh: shape of the mesh, such as `"data:64,model:32"`.
        rules: layout rules, such as `"batch:data,experts:data,d_ff:model"`. `None`:
            those of the Switch paper (`advice.USUAL`) that fit model and mesh.
        batch: sequences of one step, with lengths or without.
        chip: a `Chip`, or the name of one of `CHIPS`.
        optimizer: unbuilt Keras optimizer; `None`: `Adafactor()`.
        precision: dtype policy.

    Raises:
        ValueError: if mesh or rules cannot be read, or there is no such chip.

    Example:
        >>> print(plan(preset("switch_c").config, "data:2048", None, Batch(2048)))
    """
    batch = (Batch(batch) if isinstance(batch, int) else batch).of(config)
    chip = chip_of(chip) if isinstance(chip, str) else chip
    optimizer = Adafactor() if optimizer is None else optimizer
    policy = keras.dtype_policies.get(precision)
    weights = count(config, precision)
    mesh = MeshShape.parse(mesh)
    if rules is None:
        rules = advice.usual_rules(mesh, weights)
    layout = Layout(mesh, LayoutRules.parse(rules))
    step = walk(config, batch, policy.compute_dtype, mesh.num_devices > 1)
    messages = collectives(step, layout)
    room = memory(weights, optimizer, step, layout, policy.variable_dtype)
    work, time = flops(step, layout), timing(step, messages, layout, chip, room)
    rate = mesh.num_devices * chip.peak(policy.compute_dtype) * time.step
    seen = config, weights, step, layout, messages, room, chip
    return Plan(
        mesh=mesh,
        rules=layout.rules,
        devices=mesh.num_devices,
        batch=batch,
        chip=chip,
        precision=precision,
        optimizer=type(optimizer).__name__,
        parameters=weights.total,
        active_parameters=weights.active,
        memory=room,
        flops=work,
        collectives=messages,
        time=time,
        mfu=work.model / rate,
        hfu=work.step / rate,
        mistakes=advice.mistakes(layout, weights),
        warnings=advice.warnings(*seen),
    )
