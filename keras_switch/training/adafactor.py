"""Adafactor with the arithmetic of T5X and of Mesh TensorFlow, as a Keras optimizer.

Paper: arXiv:1804.04235. `keras.optimizers.Adafactor` differs from both originals: it
factors the last two axes whatever their size, keeps a slot of full size beside the
factored ones (so that it saves no memory), and knows no stacked axes.
"""

import keras
from keras import ops

from keras_switch.training.factoring import Factoring, T5XFactoring
from keras_switch.training.gradients import dense


@keras.saving.register_keras_serializable("keras_switch")
class Adafactor(keras.optimizers.Optimizer):
    """Adaptive steps whose second moments take rows plus columns, not their product.

    All arithmetic and all slots are float32, whatever the dtype of the weights.

    Args:
        learning_rate: float or schedule. With `multiply_by_parameter_scale` it is
            relative to the size of each weight: T5 pre-trains with
            `InverseSquareRoot()` and fine-tunes with 1e-3.
        factoring: how second moments are stored: `T5XFactoring()` (every expert on its
            own), `MeshTensorFlowFactoring()` or `Unfactored()`.
        decay_exponent: after update t, counted from 0, the moments keep
            `1 - (t + 1) ** -decay_exponent` of their past.
        step_offset: the step that counts as t = 0, for instance that of the
            pre-trained checkpoint when fine-tuning starts.
        beta_1: momentum; 0 keeps no momentum slot.
        clipping_threshold: most that the RMS of an update may be; None for no limit.
        multiply_by_parameter_scale: whether the step is relative to the RMS of the
            weight, as both originals have it by default.
        epsilon_1: added to squared gradients.
        epsilon_2: least parameter scale, so that weights at zero can leave it.
        **kwargs: arguments of `keras.optimizers.Optimizer`, such as `weight_decay`.

    Example:
        >>> model.compile(Adafactor(InverseSquareRoot()), loss=TokenCrossEntropy())
    """

    def __init__(
        self,
        learning_rate=1e-3,
        factoring: Factoring | None = None,
        decay_exponent=0.8,
        step_offset=0,
        beta_1=0.0,
        clipping_threshold=1.0,
        multiply_by_parameter_scale=True,
        epsilon_1=1e-30,
        epsilon_2=1e-3,
        name="adafactor",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.factoring = T5XFactoring() if factoring is None else factoring
        self.decay_exponent = decay_exponent
        self.step_offset = step_offset
        self.beta_1 = beta_1
        self.clipping_threshold = clipping_threshold
        self.multiply_by_parameter_scale = multiply_by_parameter_scale
        self.epsilon_1 = epsilon_1
        self.epsilon_2 = epsilon_2

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._plans = [
            self.factoring.plan(tuple(v.shape), getattr(v, "dims", None))
            for v in variables
        ]
        self._moments = [
            self._second_moments(v, plan)
            for v, plan in zip(variables, self._plans, strict=True)
        ]
        self._momenta = [
            self._slot(v, range(len(v.shape)), "m") if self.beta_1 else None
            for v in variables
        ]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        plan, momentum = self._plans[index], self._momenta[index]
        gradient = ops.cast(dense(gradient), "float32")
        update = gradient * self._preconditioner(gradient, index)
        if self.clipping_threshold is not None:
            rms = _rms(update, plan.clipped)
            update = update / ops.maximum(1.0, rms / self.clipping_threshold)
        step_size = ops.cast(learning_rate, "float32")
        if self.multiply_by_parameter_scale:
            weight = ops.cast(ops.convert_to_tensor(variable), "float32")
            scale = _rms(weight, plan.scaled)
            step_size = step_size * ops.maximum(scale, self.epsilon_2)
        update = step_size * update
        if momentum is not None:
            update = self.beta_1 * momentum + (1.0 - self.beta_1) * update
            self.assign(momentum, update)
        self.assign_sub(variable, update)

    def get_config(self):
        return {
            **super().get_config(),
            "factoring": keras.saving.serialize_keras_object(self.factoring),
            "decay_exponent": self.decay_exponent,
            "step_offset": self.step_offset,
            "beta_1": self.beta_1,
            "clipping_threshold": self.clipping_threshold,
            "multiply_by_parameter_scale": self.multiply_by_parameter_scale,
            "epsilon_1": self.epsilon_1,
            "epsilon_2": self.epsilon_2,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if isinstance(config.get("factoring"), dict):
            config["factoring"] = keras.saving.deserialize_keras_object(
                config["factoring"], custom_objects=custom_objects
            )
        return super().from_config(config, custom_objects)

    def _second_moments(self, variable, plan):
        """Returns the slots of one weight: `(rows, columns)`, or `(all,)`."""
        axes = range(len(variable.shape))
        if plan.rows is None:
            return (self._slot(variable, axes, "v"),)
        rows = [axis for axis in axes if axis not in plan.columns]
        columns = [axis for axis in axes if axis not in plan.rows]
        return self._slot(variable, rows, "vr"), self._slot(variable, columns, "vc")

    def _slot(self, variable, axes, name):
        """Returns a new float32 slot with these axes of `variable`."""
        slot = self.add_variable(
            shape=tuple(variable.shape[axis] for axis in axes),
            dtype="float32",
            name=f"{variable.path.replace('/', '_')}_{name}",
        )
        dims = getattr(variable, "dims", (None,) * len(variable.shape))
        slot.dims = tuple(dims[axis] for axis in axes)
        return slot

    def _preconditioner(self, gradient, index):
        """Moves the second moments on; returns one over the root of their estimate."""
        plan, slots = self._plans[index], self._moments[index]
        squared = ops.square(gradient) + self.epsilon_1
        if plan.rows is None:
            return ops.rsqrt(self._moved(slots[0], squared))
        rows = self._moved(slots[0], ops.mean(squared, axis=plan.columns))
        columns = self._moved(slots[1], ops.mean(squared, axis=plan.rows))
        rows, columns = (_expand(rows, plan.columns), _expand(columns, plan.rows))
        mean = ops.mean(rows, axis=plan.rows, keepdims=True)
        return ops.rsqrt(rows / mean) * ops.rsqrt(columns)

    def _moved(self, slot, value):
        """Moves a slot towards `value` by what is left of 1 after the decay."""
        decay = self._decay()
        value = decay * slot + (1.0 - decay) * value
        self.assign(slot, value)
        return value

    def _decay(self):
        # Before the offset t stays 0; the originals would take a root of a negative.
        t = ops.cast(self.iterations, "float32") - float(self.step_offset)
        return 1.0 - ops.power(ops.maximum(t, 0.0) + 1.0, -self.decay_exponent)


def _rms(x, axes):
    """Returns the root mean square over these axes, kept as axes of size one."""
    return ops.sqrt(ops.mean(ops.square(x), axis=axes, keepdims=True))


def _expand(x, axes):
    """Returns `x` with axes of size one at these positions of the result."""
    for axis in sorted(axes):
        x = ops.expand_dims(x, axis)
    return x
