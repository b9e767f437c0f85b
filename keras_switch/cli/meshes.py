"""Where a command's model lies, and what each process feeds it."""

import dataclasses

from keras_switch import data as pipelines
from keras_switch import models
from keras_switch.partitioning import LayoutRules, Mesh, MeshShape
from keras_switch.planning import advice
from keras_switch.planning.collectives import Layout


@dataclasses.dataclass(frozen=True)
class PlacementConfig:
    """Where a model lies, and in which precision.

    Args:
        dtype: dtype policy.
        mesh_shape: axes of a mesh, such as `"data:4,model:2"`; `None`: one device.
        layout_rules: dimensions over axes, such as `"batch:data,d_ff:model"`. `None`:
            the Switch paper's, as far as they fit.
    """

    dtype: str = "float32"
    mesh_shape: str | None = None
    layout_rules: str | None = None

    def mesh(self, model: models.ModelConfig):
        """Returns the `Mesh` for a model, or `None` for one device.

        Raises:
            ValueError: with everything that makes the layout impossible.
        """
        if self.mesh_shape is not None:
            return self._mesh(model)
        if self.layout_rules is not None:
            raise ValueError(
                f"There are layout rules, {self.layout_rules!r}, but no mesh: say its "
                "shape too (--mesh_shape=data:8, or a file of layouts/)."
            )
        return None

    def _mesh(self, model):
        weights = models.count(model, self.dtype)
        shape = MeshShape.parse(self.mesh_shape)
        rules = LayoutRules.parse(
            self.layout_rules or advice.usual_rules(shape, weights)
        )
        mistakes = advice.mistakes(Layout(shape, rules), weights)
        if mistakes:
            raise ValueError(
                f"The model does not fit the mesh {str(shape)!r} with the layout rules "
                f"{str(rules)!r}:\n- " + "\n- ".join(mistakes)
            )
        return Mesh(shape, rules)


ONE_DEVICE = PlacementConfig()


def batches_for(data, model, clients):
    """Returns the batches of this process; see `data.batches`.

    Args:
        data: `DataConfig`.
        model: `ModelConfig`.
        clients: the processes that share the mesh.
    """
    share = clients.share
    return pipelines.batches(data, model, num_shards=share.of, shard=share.index)
