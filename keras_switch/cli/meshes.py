"""The mesh on which a command trains or evaluates, and what each process feeds it."""

from keras_switch import data as pipelines
from keras_switch import models
from keras_switch.partitioning import LayoutRules, Mesh, MeshShape
from keras_switch.planning import advice
from keras_switch.planning.collectives import Layout


def mesh_of(model: models.ModelConfig, dtype, mesh_shape=None, layout_rules=None):
    """Returns the `Mesh` for a model, or `None` without a `mesh_shape`.

    Args:
        model: what will lie on it.
        dtype: dtype policy.
        mesh_shape: axes, such as `"data:4,model:2"`.
        layout_rules: dimensions over axes; `None`: the Switch paper's that fit.

    Raises:
        ValueError: with everything that makes the layout impossible.
    """
    if mesh_shape is None:
        if layout_rules is not None:
            raise ValueError(
                f"There are layout rules, {layout_rules!r}, but no mesh: say its shape "
                "too (--mesh_shape=data:8, or a file of layouts/)."
            )
        return None
    weights = models.count(model, dtype)
    shape = MeshShape.parse(mesh_shape)
    if layout_rules is None:
        layout_rules = advice.usual_rules(shape, weights)
    rules = LayoutRules.parse(layout_rules)
    mistakes = advice.mistakes(Layout(shape, rules), weights)
    if mistakes:
        raise ValueError(
            f"The model does not fit the mesh {str(shape)!r} with the layout rules "
            f"{str(rules)!r}:\n- " + "\n- ".join(mistakes)
        )
    return Mesh(shape, rules)


def batches_for(data, model, clients):
    """Returns the batches of this process; see `data.batches`.

    Args:
        data: `DataConfig`.
        model: `ModelConfig`.
        clients: the processes that share the mesh.
    """
    share = clients.share
    return pipelines.batches(data, model, num_shards=share.of, shard=share.index)
