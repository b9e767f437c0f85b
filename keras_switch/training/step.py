"""One training step: forward and backward, micro-batches, clipping, update."""

import keras
import tensorflow as tf

from keras_switch.partitioning import constrain, steps, traced
from keras_switch.training import gradients as g
from keras_switch.training.auxiliary import sum_over_layers
from keras_switch.training.batches import split, unpack
from keras_switch.training.token_sums import denominator, names, token_sums


class TrainStep:
    """A step of training as one graph; call it with a batch.

    A model that was made on a `Mesh` is trained there: each batch is split over its
    devices, and on several processes every one calls this with its own rows.

    With micro-batches the gradient is that of the whole batch, exactly: each part's sum
    of token losses is divided by the weights of all parts. Only the losses that layers
    add (load balance) are means over the micro-batches, since each of these is routed
    on its own.

    Args:
        model: a built Keras model, called as `model(inputs, training=True)`.
        optimizer: a Keras optimizer. Under the policy `mixed_float16` it is wrapped in
            a `LossScaleOptimizer`, as `compile` does; see the attribute `optimizer`.
        loss: a `TokenCrossEntropy`, or any Keras loss with a value per target. Its
            reduction says what the sum is divided by.
        microbatches: parts that the batch is computed in, to save memory.
        max_grad_norm: limit of the global norm of the gradient.
        aux_loss: function from the model to the scalar that is added to the loss:
            `sum_over_layers` (Mesh TensorFlow) or `mean_over_layers` (T5X).
        jit_compile: whether XLA compiles the step. Slower on CPU; not on a mesh.

    Example:
        >>> step = TrainStep(model, Adafactor(1e-3), TokenCrossEntropy())
        >>> metrics = step(next(iter(batches)))  # {"loss": ..., "tokens": ..., ...}
    """

    def __init__(
        self,
        model,
        optimizer,
        loss,
        microbatches=1,
        max_grad_norm=None,
        aux_loss=sum_over_layers,
        jit_compile=False,
    ):
        _check(model, microbatches, max_grad_norm)
        self.model = model
        self.optimizer = _with_loss_scale(optimizer, model)
        self.loss = loss
        self.microbatches = microbatches
        self.max_grad_norm = max_grad_norm
        self.aux_loss = aux_loss
        steps.build_optimizer(model, self.optimizer)
        self._run = traced.traced_for(model, self._step, jit_compile)

    def __call__(self, batch):
        """Makes one step.

        Args:
            batch: `(inputs, targets)` or `(inputs, targets, weights)`; weights have
                the shape of the targets.

        Returns:
            Float32 scalars by name, still on the device: `loss` (what is minimized),
            `aux_loss`, `grad_norm` (before clipping), `learning_rate`, `tokens` (sum of
            the weights), and with `TokenCrossEntropy` also `cross_entropy`, `z_loss`,
            `accuracy`, means over the tokens.
        """
        return self._run(*unpack(batch))

    def _step(self, inputs, targets, weights):
        variables = self.model.trainable_variables
        divisor = denominator(self.loss, weights)
        learning_rate = tf.cast(self.optimizer.learning_rate, "float32")
        scale = tf.cast(self.optimizer.scale_loss(tf.ones(())), "float32")
        gradients, sums = self._accumulated((inputs, targets, weights), divisor)
        norm = tf.linalg.global_norm(gradients) / scale
        if self.max_grad_norm is not None:
            gradients = g.clip_by_norm(gradients, norm, self.max_grad_norm)
        self.optimizer.apply(gradients, variables)
        return {
            **self._metrics(sums, divisor),
            "grad_norm": norm,
            "learning_rate": learning_rate,
        }

    def _accumulated(self, batch, divisor):
        """Returns gradients and sums of a batch, summed over its micro-batches."""
        if self.microbatches == 1:
            return self._gradients(batch, divisor)
        parts = split(batch, self.microbatches)
        variables = self.model.trainable_variables

        def add(index, gradients, sums):
            part = tf.nest.map_structure(lambda x: _part(x, index), parts)
            more, more_sums = self._gradients(part, divisor)
            sums = tf.nest.map_structure(tf.add, sums, more_sums)
            return index + 1, _laid_out(map(tf.add, gradients, more), variables), sums

        zeros = _laid_out((tf.zeros(v.shape) for v in variables), variables)
        start = (0, zeros, {name: tf.zeros(()) for name in self._names()})
        # One at a time, or the activations of several would be in memory together.
        _, gradients, sums = tf.while_loop(
            lambda index, *_: index < self.microbatches,
            add,
            start,
            parallel_iterations=1,
            maximum_iterations=self.microbatches,
        )
        return gradients, sums

    def _gradients(self, batch, divisor):
        """Returns scaled float32 gradients of one micro-batch, and its sums."""
        inputs, targets, weights = batch
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            sums, aux = self._losses(inputs, targets, weights)
            aux = aux / self.microbatches
            loss = tf.math.divide_no_nan(sums["loss"], divisor) + aux
            loss = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(loss, [v.value for v in variables])
        return g.as_float32(gradients, variables), {**sums, "aux_loss": aux}

    def _losses(self, inputs, targets, weights):
        """Returns sums over the tokens of a micro-batch, and the layers' losses."""
        outputs = self.model(inputs, training=True)
        sums = token_sums(self.loss, targets, outputs, weights)
        return sums, self.aux_loss(self.model)

    def _metrics(self, sums, divisor):
        """Returns means of the sums, and the loss that was minimized."""
        aux, tokens = sums["aux_loss"], sums["tokens"]
        means = {
            name: tf.math.divide_no_nan(sums[name], tokens)
            for name in sums
            if name not in ("loss", "aux_loss", "tokens")
        }
        loss = tf.math.divide_no_nan(sums["loss"], divisor) + aux
        return {"loss": loss, **means, "aux_loss": aux, "tokens": tokens}

    def _names(self):
        return (*names(self.loss), "aux_loss")


def _laid_out(gradients, variables):
    """Returns gradients that lie on a mesh as the variables do, as loops need them."""
    return [
        traced.laid_out_like(v, g) for g, v in zip(gradients, variables, strict=True)
    ]


def _part(x, index):
    """Returns the rows of one micro-batch, split over a mesh as its rules say."""
    return constrain(tf.gather(x, index), "batch", *(None,) * (x.shape.rank - 2))


def _with_loss_scale(optimizer, model):
    """Returns the optimizer, under `mixed_float16` with loss scaling."""
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if model.dtype_policy.name == "mixed_float16" and not scaled:
        return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale")
    return optimizer


def _check(model, microbatches, max_grad_norm):
    """Raises ValueError if something cannot be trained."""
    if not model.built:
        raise ValueError(
            f"The model {model.name!r} has no weights yet. Call it once on a batch of "
            "inputs, then make the TrainStep."
        )
    if not model.trainable_variables:
        raise ValueError(
            f"All weights of the model {model.name!r} are frozen: leave some to train."
        )
    if microbatches < 1:
        raise ValueError(f"microbatches={microbatches} must be at least 1.")
    if max_grad_norm is not None and max_grad_norm <= 0:
        raise ValueError(
            f"max_grad_norm={max_grad_norm} must be positive; None turns clipping off."
        )
