"""From the numbers of sparse layers to the rule that places them."""

from keras_switch import models


def placement(layers, depth: int, mistakes: list):
    """Returns the first rule that places these layers.

    Args:
        layers: numbers of the sparse layers.
        depth: layers of the stack.
        mistakes: list that gets a sentence if there is no such rule.
    """
    layers = tuple(layers)
    for rule in _candidates(len(layers), depth):
        try:
            if rule.layers(depth) == layers:
                return rule
        except ValueError:  # this rule cannot be met by so many layers
            continue
    mistakes.append(
        f"sparse layers {layers} of {depth}: no placement has a rule for it"
    )
    return models.NoLayers()


def _candidates(count, depth):
    yield from (models.NoLayers(), models.AllLayers(), models.Odd(), models.Even())
    yield from (models.Every(step) for step in range(3, depth + 1))
    yield from (models.HuggingFace(step) for step in range(3, depth + 1))
    for rule in (models.Top, models.Middle, models.Bottom):
        yield rule(count)
