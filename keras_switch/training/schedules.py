"""Learning rate schedules of T5 that Keras lacks; they nest.

A constant is a plain float; `PolynomialDecay`, `CosineDecay`, ... are Keras's own.

Sources: `mesh_tensorflow.transformer.learning_rate_schedules`, `t5x.utils`.
"""

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule


@keras.saving.register_keras_serializable("keras_switch")
class InverseSquareRoot(LearningRateSchedule):
    """`base / sqrt(max(step, warmup_steps))`: constant at first, then falling.

    T5 and the Switch Transformer pre-train with base 1 and 10,000 steps, that is with
    0.01 at first.

    Args:
        base: factor.
        warmup_steps: steps at the start with the same rate; at least 1.
    """

    def __init__(self, base=1.0, warmup_steps=10_000):
        if warmup_steps < 1:
            raise ValueError(f"warmup_steps={warmup_steps} must be at least 1.")
        self.base = base
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        return self.base / ops.sqrt(ops.maximum(step, float(self.warmup_steps)))

    def get_config(self):
        return {"base": self.base, "warmup_steps": self.warmup_steps}


class _Shaped(LearningRateSchedule):
    """A schedule, or a constant, times a factor between 0 and 1."""

    def __init__(self, rate):
        self.rate = rate

    def factor(self, step):
        """Returns the factor at a step, float32."""
        raise NotImplementedError

    def __call__(self, step):
        rate = self.rate(step) if callable(self.rate) else self.rate
        return rate * ops.clip(self.factor(ops.cast(step, "float32")), 0.0, 1.0)

    def get_config(self):
        return {"rate": keras.saving.serialize_keras_object(self.rate)}

    @classmethod
    def from_config(cls, config):
        rate = keras.saving.deserialize_keras_object(config["rate"])
        return cls(**{**config, "rate": rate})


@keras.saving.register_keras_serializable("keras_switch")
class LinearWarmup(_Shaped):
    """Another schedule, reached from 0 over the first steps.

    Args:
        rate: a schedule or a float.
        warmup_steps: steps until `rate` holds in full; step 0 has rate 0.
    """

    def __init__(self, rate, warmup_steps):
        if warmup_steps < 1:
            raise ValueError(f"warmup_steps={warmup_steps} must be at least 1.")
        super().__init__(rate)
        self.warmup_steps = warmup_steps

    def factor(self, step):
        return step / self.warmup_steps

    def get_config(self):
        return {**super().get_config(), "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable("keras_switch")
class LinearTail(_Shaped):
    """Another schedule that falls to 0 in a straight line over the last steps.

    `LinearTail(InverseSquareRoot(), total_steps)` is Mesh TensorFlow's
    `learning_rate_schedule_noam`; `fraction=1` is a linear decay from the start.

    Args:
        rate: a schedule or a float.
        total_steps: the step at which the rate is 0.
        fraction: share of all steps that the tail takes.
    """

    def __init__(self, rate, total_steps, fraction=0.1):
        if total_steps < 1 or not 0 < fraction <= 1:
            raise ValueError(
                f"total_steps={total_steps} must be at least 1 and fraction={fraction} "
                "above 0 and at most 1."
            )
        super().__init__(rate)
        self.total_steps = total_steps
        self.fraction = fraction

    def factor(self, step):
        return (self.total_steps - step) / (self.total_steps * self.fraction)

    def get_config(self):
        return {
            **super().get_config(),
            "total_steps": self.total_steps,
            "fraction": self.fraction,
        }
