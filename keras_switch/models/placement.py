"""Which layers of a stack are sparse: each placement answers with their numbers.

A placement that would leave a stack without the sparse layers it promises raises: a
dense model is asked for by `NoLayers()` or `sparse=None`, never met by chance.
"""

import dataclasses

from keras_switch.models.parts import Part, part


class Placement(Part):
    """Base of all placements."""

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """Returns the numbers of the sparse layers, from 0, in rising order.

        Raises:
            ValueError: if a stack of `num_layers` cannot hold what is asked for.
        """
        chosen = tuple(i for i in range(num_layers) if self.takes(i, num_layers))
        if not chosen:
            raise ValueError(
                f"{self} makes none of {num_layers} layers sparse. Take another "
                "placement, more layers, or say NoLayers()."
            )
        return chosen

    def takes(self, i: int, num_layers: int) -> bool:
        """Returns whether layer `i` is sparse."""
        raise NotImplementedError


@part
class Every(Placement):
    """The last of every `step` layers: `i % step == step - 1` (T5X's MIXED).

    Args:
        step: 2 is Switch's every other layer, 4 is ST-MoE's, 1 is all.
    """

    step: int = 2

    def takes(self, i, num_layers):
        return i % _positive(self, "step") == self.step - 1


@part
class Odd(Placement):
    """Layers 1, 3, 5, ... as in Switch Transformer (arXiv:2101.03961, section 2.4)."""

    def takes(self, i, num_layers):
        return i % 2 == 1


@part
class Even(Placement):
    """Layers 0, 2, 4, ... as in Mesh TensorFlow's `bi_moe.gin`."""

    def takes(self, i, num_layers):
        return i % 2 == 0


@part
class HuggingFace(Placement):
    """`i % step == 1`, and every layer for step 1, as in `transformers`.

    Args:
        step: `encoder_sparse_step` or `decoder_sparse_step` of `transformers`.
    """

    step: int = 2

    def takes(self, i, num_layers):
        return _positive(self, "step") == 1 or i % self.step == 1


@dataclasses.dataclass(frozen=True)
class _Counted(Placement):
    count: int

    def layers(self, num_layers):
        if not 1 <= self.count <= num_layers:
            raise ValueError(
                f"{self} cannot be met by {num_layers} layers: give a count from 1 to "
                f"{num_layers}, or NoLayers() for none."
            )
        return super().layers(num_layers)


@part
class Mixed(_Counted):
    """`count` layers spread evenly: the last of every `num_layers / count`.

    Args:
        count: sparse layers; it divides the number of layers.
    """

    def layers(self, num_layers):
        if self.count > 0 and num_layers % self.count:
            raise ValueError(
                f"{self} cannot be spread evenly over {num_layers} layers: give a "
                "count that divides them, or take Top, Middle or Bottom."
            )
        return super().layers(num_layers)

    def takes(self, i, num_layers):
        step = num_layers // self.count
        return i % step == step - 1


@part
class Top(_Counted):
    """The last `count` layers.

    Args:
        count: sparse layers.
    """

    def takes(self, i, num_layers):
        return i >= num_layers - self.count


@part
class Middle(_Counted):
    """The `count` layers in the middle.

    Args:
        count: sparse layers.
    """

    def takes(self, i, num_layers):
        return num_layers - self.count <= 2 * i < num_layers + self.count


@part
class Bottom(_Counted):
    """The first `count` layers.

    Args:
        count: sparse layers.
    """

    def takes(self, i, num_layers):
        return i < self.count


@part
class AllLayers(Placement):
    """Every layer is sparse, as in Switch-C."""

    def takes(self, i, num_layers):
        return True


@part
class NoLayers(Placement):
    """No layer of this stack is sparse."""

    def layers(self, num_layers):
        return ()


def _positive(placement, name):
    value = getattr(placement, name)
    if value < 1:
        raise ValueError(f"{placement}: {name} must be at least 1.")
    return value
