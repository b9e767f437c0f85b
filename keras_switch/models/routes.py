"""A look at what routers decide inside a model."""

import contextlib

from keras_switch.models.decoding import sparse_layers


class _Recorder:
    """A policy that keeps the assignments it makes; all else is the policy's."""

    def __init__(self, policy, keep):
        self._policy = policy
        self._keep = keep

    def __getattr__(self, name):
        return getattr(self._policy, name)

    def assign(self, *args, **kwargs):
        assignment = self._policy.assign(*args, **kwargs)
        self._keep(assignment)
        return assignment


@contextlib.contextmanager
def recorded_assignments(model):
    """Keeps what each sparse layer of `model` decides while the context is open.

    For eager calls: inside a compiled function the tensors are symbolic.

    Args:
        model: model whose `SwitchFeedForward` layers are watched.

    Yields:
        Dictionary of `routing.Assignment` by the layer's name (`"encoder_1"`, ...): its
        last call's.

    Example:
    ```python
    with recorded_assignments(model) as routes:
        model(inputs)
    routes["encoder_1"].probs  # (G, S, E)
    routes["encoder_1"].kept  # (G, S, K)
    ```
    """
    layers, found = sparse_layers(model), {}
    policies = [layer.routing for layer in layers]
    for layer in layers:
        keep = _into(found, layer.name)
        layer.routing = _Recorder(layer.routing, keep)
    try:
        yield found
    finally:
        for layer, policy in zip(layers, policies, strict=True):
            layer.routing = policy


def _into(found, name):
    def keep(assignment):
        found[name] = assignment

    return keep
