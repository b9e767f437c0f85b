"""Recomputation of a layer in the backward pass, with its state and losses intact."""

import keras
from keras import ops


def rematerialized(layer, call, inputs):
    """Returns `call(*inputs)`, whose intermediate tensors the backward pass recomputes.

    What `call` does beside its result would happen once more, or be lost: random states
    would move on (another dropout mask), metrics would count twice, and losses added
    within would have no gradient. So it runs on copies of the states; new states and
    losses are results of the recomputed function, and the states take effect once,
    here.

    Args:
        layer: the layer that `call` calls, built. No autocast scope may be active: the
            copies are of the variables as stored.
        call: function of float tensors that returns one. What else it needs (masks,
            ids) it may close over.
        inputs: float tensors, to which gradients flow.

    Returns:
        The result of `call`, and the losses that layers added within: a list of float32
        scalars.
    """
    frozen = _frozen(layer)
    kept = {id(weight) for weight in frozen}
    variables = (*layer.non_trainable_variables, *layer.metrics_variables)
    # Read before the call: going backward, the variables have moved on. Not so weights
    # that are frozen, of which there may be many.
    states = [(v, ops.copy(v.value)) for v in variables if id(v) not in kept]
    # A TensorFlow variable is watched where it is read. Elsewhere, and in Keras's
    # stateless calls, the value of a weight is an input like any other.
    weights = [
        weight
        for weight in (*layer.trainable_variables, *frozen)
        if not hasattr(weight.value, "assign")
    ]
    changed = {}

    def run(inputs, values):
        mapping = [*states, *zip(weights, values, strict=True)]
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            before = [scope.get_current_value(state) for state, _ in states]
            y = call(*inputs)
        after = [scope.get_current_value(state) for state, _ in states]
        moved = [i for i, old in enumerate(before) if after[i] is not old]
        changed.update({i: states[i][0] for i in moved})
        return y, list(scope.losses), [after[i] for i in moved]

    values = [weight.value for weight in weights]
    y, losses, after = keras.remat(run)(inputs, values)
    for state, value in zip(changed.values(), after, strict=True):
        state.assign(value)
    return y, losses


def _frozen(layer):
    """Returns the weights that could be trained but are not."""
    weights = [v for sub in layer._flatten_layers() for v in sub._trainable_variables]
    return [weight for weight in weights if not weight.trainable]
