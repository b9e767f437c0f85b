"""Adafactor with the arithmetic of T5X and of Mesh TensorFlow, as a Keras optimizer.

Paper: arXiv:1804.04235. `keras.optimizers.Adafactor` differs from both originals: it
factors the last two axes whatever their size, keeps a slot of full size beside the
factored ones (so that it saves no memory), and knows no stacked axes.
"""

import math

import keras
from keras import ops

from keras_switch.partitioning import laid_out
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

    def apply(self, grads, trainable_variables=None):
        self._decay_now = self._decay()  # once, not for every slot
        return super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        plan, momentum = self._plans[index], self._momenta[index]
        gradient = ops.reshape(ops.cast(dense(gradient), "float32"), variable.shape)
        squared = ops.square(gradient)
        factors = self._factors(squared, index)
        step_size = ops.cast(learning_rate, "float32")
        if self.clipping_threshold is not None:
            rms = ops.sqrt(_mean_square(squared, factors, plan))
            step_size = step_size / ops.maximum(1.0, rms / self.clipping_threshold)
        if self.multiply_by_parameter_scale:
            weight = ops.cast(ops.convert_to_tensor(variable), "float32")
            square = ops.mean(ops.square(weight), axis=plan.scaled, keepdims=True)
            step_size = step_size * ops.maximum(ops.sqrt(square), self.epsilon_2)
        # All that is small is multiplied first: few passes over the whole weight.
        update = gradient * (factors[0] * step_size)
        for factor in factors[1:]:
            update = update * factor
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
        dims = getattr(variable, "dims", None) or (None,) * len(variable.shape)
        dims = tuple(dims[axis] for axis in axes)
        slot = self.add_variable(
            shape=tuple(variable.shape[axis] for axis in axes),
            initializer=laid_out(keras.initializers.Zeros(), dims),
            dtype="float32",
            name=f"{variable.path.replace('/', '_')}_{name}",
        )
        slot.dims = dims
        return slot

    def _factors(self, squared, index):
        """Moves the second moments on.

        Returns:
            Tensors that the gradient is to be multiplied by: factors of rows and of
            columns, or one for every entry.
        """
        plan, slots, epsilon = self._plans[index], self._moments[index], self.epsilon_1
        if plan.rows is None:
            return [ops.rsqrt(self._moved(slots[0], squared + epsilon))]
        rows = ops.mean(squared, axis=plan.columns) + epsilon
        columns = ops.mean(squared, axis=plan.rows) + epsilon
        rows = _expand(self._moved(slots[0], rows), plan.columns)
        columns = _expand(self._moved(slots[1], columns), plan.rows)
        mean = ops.mean(rows, axis=plan.rows, keepdims=True)
        # A row of zeros beside huge gradients: neither 1 / 0 nor a product of factors
        # that overflows, in whatever order a compiler multiplies.
        of_rows = ops.minimum(ops.sqrt(mean) * ops.rsqrt(rows), 1e18)
        return [of_rows, ops.rsqrt(columns)]

    def _moved(self, slot, value):
        """Moves a slot towards `value` by what is left of 1 after the decay."""
        decay = self._decay_now
        value = decay * slot + (1.0 - decay) * value
        self.assign(slot, value)
        return value

    def _decay(self):
        # Before the offset t stays 0; the originals would take a root of a negative.
        t = ops.cast(self.iterations, "float32") - float(self.step_offset)
        return 1.0 - ops.power(ops.maximum(t, 0.0) + 1.0, -self.decay_exponent)


def _mean_square(squared, factors, plan):
    """Returns the mean square of the update over the axes `plan.clipped`, kept as ones.

    Args:
        squared: squared gradient.
        factors: of `Adafactor._factors`.
        plan: of the weight.
    """
    squares = [ops.square(factor) for factor in factors]
    if plan.rows is None:
        return ops.mean(squared * squares[0], axis=plan.clipped, keepdims=True)
    letters = "abcdefgh"[: len(squared.shape)]
    of_rows = "".join(x for i, x in enumerate(letters) if i not in plan.columns)
    of_columns = "".join(x for i, x in enumerate(letters) if i not in plan.rows)
    columns = ops.squeeze(squares[1], axis=plan.rows)
    # A product of matrices reads the weight once and writes nothing of its size.
    sums = ops.einsum(f"{letters},{of_columns}->{of_rows}", squared, columns)
    sums = ops.sum(
        _expand(sums, plan.columns) * squares[0], axis=plan.clipped, keepdims=True
    )
    return sums / math.prod(squared.shape[axis] for axis in plan.clipped)


def _expand(x, axes):
    """Returns `x` with axes of size one at these positions of the result."""
    for axis in sorted(axes):
        x = ops.expand_dims(x, axis)
    return x
