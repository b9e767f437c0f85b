"""What the experts of a whole model did since the last reset."""

from keras_switch.layers import SwitchFeedForward
from keras_switch.partitioning.steps import on_host


def sparse_layers(model):
    """Returns the sparse layers of a model, in the order of its layers."""
    layers = model._flatten_layers()  # Keras has no public walk through sublayers
    return [layer for layer in layers if isinstance(layer, SwitchFeedForward)]


def expert_use(model):
    """Returns what each sparse layer's experts did since the last reset.

    Returns:
        By name of the layer: `load`, a list with every expert's share of the choices,
        and the scalars `dropped`, `confidence` and `max_load`.
    """
    layers = sparse_layers(model)
    names = _names(model, layers)
    return {name: _use(layer) for name, layer in zip(names, layers, strict=True)}


def expert_summary(use):
    """Returns scalars of all layers: mean share dropped, load of the busiest expert."""
    if not use:
        return {}
    layers = use.values()
    return {
        "dropped": sum(layer["dropped"] for layer in layers) / len(use),
        "max_load": max(layer["max_load"] for layer in layers),
    }


def reset_experts(model):
    """Forgets what the experts did so far."""
    for layer in sparse_layers(model):
        layer.expert_metrics.reset_state()


def _use(layer):
    prefix = f"{layer.expert_metrics.name}_"
    with on_host([layer.expert_metrics]):
        scalars, load = layer.expert_metrics.result(), layer.expert_load
    return {
        "load": [float(share) for share in load],
        **{name.removeprefix(prefix): float(v) for name, v in scalars.items()},
    }


def _names(model, layers):
    """Returns the path of each layer in the model, or its name if it has no path."""
    prefix = f"{model.name}/"
    paths = [(layer.path or layer.name).removeprefix(prefix) for layer in layers]
    if len(set(paths)) == len(paths):
        return paths
    return [f"{path}:{index}" for index, path in enumerate(paths)]
