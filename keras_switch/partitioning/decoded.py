"""Generation on a mesh: a function of batches from the host, and back to it."""

from keras import tree

from keras_switch.partitioning.traced import Traced
from keras_switch.partitioning.transfer import full


def on_mesh(model, step):
    """Returns a generate function for `model`, as `keras_hub.models.CausalLM` calls it.

    Args:
        model: with a `mesh`.
        step: of a batch and of the ids that end a sequence, or `None`: `generate_step`.
    """
    traced = {}

    def function(inputs, stop_token_ids=None):
        key = None if stop_token_ids is None else tuple(stop_token_ids)
        if key not in traced:
            traced[key] = Traced(model, lambda batch: step(batch, key))
        return tree.map_structure(full, traced[key](inputs))

    return function
