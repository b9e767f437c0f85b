"""LoRA: updates of low rank beside kernels that stay as they are (arXiv:2106.09685).

A kernel W gets A and B of rank R; its layer computes `x W + alpha / R * (x A) B`. The
product W + A B is never made in training, nor is a gradient of W's size.
"""

import contextlib
import math
from typing import ClassVar

import keras

from keras_switch.layers.base import Layer
from keras_switch.partitioning import gathered

MARK = "_lora_"  # in the names of all weights that are added here


class LoraLayer(Layer):
    """A layer whose kernels can get updates of low rank.

    A subclass names its kernels in `lora_axes` and calls `_adapted` where it uses one,
    and `_build_lora` at the end of `build`.
    """

    # Name of each kernel: how many of its axes count experts, how many are summed over.
    lora_axes: ClassVar = {}
    lora_options: ClassVar = {}  # of `add_param`
    lora_rank = lora_alpha = None
    lora_targets = ()

    def enable_lora(self, rank, lora_alpha=None, targets=None):
        """Adds A (random) and B (zeros) to kernels, which are then no longer trained.

        The layer computes what it did. Compile a model after this, not before.

        Args:
            rank: R, columns of A and rows of B.
            lora_alpha: the update is scaled by `lora_alpha / rank`; `None`: by 1.
            targets: names of kernels, such as `("query", "value")`; `None`: all.

        Raises:
            ValueError: if there is LoRA already, a name is not that of a kernel, or the
                rank is no whole number above 0.
        """
        self._check_lora(rank, targets)
        self.lora_rank = rank
        self.lora_alpha = rank if lora_alpha is None else lora_alpha
        wanted = self.lora_names if targets is None else targets
        self.lora_targets = tuple(n for n in self.lora_names if n in wanted)
        if self.built:
            self._tracker.unlock()
            self._build_lora()
            self._tracker.lock()

    def merge_lora(self):
        """Adds the updates to their kernels and removes A and B; the function stays."""
        for name in self.lora_targets:
            kernel, a, b = self.lora_kernel(name), *self._pair(name)
            kernel.assign(self._merged(name))
            b.assign(keras.ops.zeros(b.shape))  # graphs that were traced stay right
            for letter, weight in zip("ab", (a, b), strict=True):
                self._untrack_variable(weight)
                # Keras's `del` would look for garbage each time.
                vars(self).pop(f"{name}{MARK}{letter}")
            kernel.trainable = True
        self.lora_rank = self.lora_alpha = None
        self.lora_targets = ()

    def lora_kernel(self, name):
        """Returns the kernel of a name in `lora_axes`."""
        return getattr(self, name)

    @property
    def lora_names(self) -> tuple[str, ...]:
        """Names of the kernels that can get an update."""
        return tuple(self.lora_axes)

    def get_config(self):
        config = super().get_config()
        if self.lora_rank is not None:
            config["lora"] = {
                "rank": self.lora_rank,
                "lora_alpha": self.lora_alpha,
                "targets": list(self.lora_targets),
            }
        return config

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        lora = config.pop("lora", None)
        layer = super().from_config(config)
        if lora:
            layer.enable_lora(**lora)
        return layer

    def _build_lora(self):
        """Makes A and B of every target; to be called when the kernels are there."""
        for name in self.lora_targets:
            kernel = self.lora_kernel(name)
            with _on_mesh_of(kernel):
                self._add_pair(name, kernel)
            kernel.trainable = False

    def _add_pair(self, name, kernel):
        experts, end = self._split(name)
        shape, dims = tuple(kernel.shape), kernel.dims
        fan_in = math.prod(shape[experts:end])
        forms = {
            "a": ((*shape[:end], self.lora_rank), (*dims[:end], None)),
            "b": (
                (*shape[:experts], self.lora_rank, *shape[end:]),
                (*dims[:experts], None, *dims[end:]),
            ),
        }
        starts = {
            "a": keras.initializers.RandomNormal(stddev=fan_in**-0.5),
            "b": keras.initializers.Zeros(),
        }
        for letter, (shape, dims) in forms.items():
            path = f"{name}{MARK}{letter}"
            # Stored in float32 whatever the policy: small steps add up.
            weight = self.add_param(
                path, shape, dims, starts[letter], dtype="float32", **self.lora_options
            )
            setattr(self, path, weight)

    def _adapted(self, name, y, update):
        """Returns `y`, what a kernel made, plus its update of low rank if it has one.

        Args:
            name: of the kernel.
            y: tensor.
            update: function of A and B, in the dtype of `y`, that returns `(x A) B`.
        """
        if name not in self.lora_targets:
            return y
        dtype = keras.backend.standardize_dtype(y.dtype)
        a, b = (gathered(weight, dtype) for weight in self._pair(name))
        return y + self.lora_scale * update(a, b)

    @property
    def lora_scale(self) -> float:
        """What the product of A and B is multiplied by."""
        return self.lora_alpha / self.lora_rank

    def _merged(self, name):
        """Returns a kernel with its update added, as a float32 array."""
        experts, _ = self._split(name)
        kernel = self.lora_kernel(name)
        shape = tuple(kernel.shape)
        a, b = (weight.numpy().astype("float32") for weight in self._pair(name))
        a = a.reshape(*shape[:experts], -1, self.lora_rank)
        b = b.reshape(*shape[:experts], self.lora_rank, -1)
        update = (a @ b).reshape(shape)
        return kernel.numpy().astype("float32") + self.lora_scale * update

    def _pair(self, name):
        return [getattr(self, f"{name}{MARK}{letter}") for letter in "ab"]

    def _split(self, name):
        experts, summed = self.lora_axes[name]
        return experts, experts + summed

    def _check_lora(self, rank, targets):
        if self.lora_rank is not None:
            raise ValueError(
                f"{self.name!r} has LoRA of rank {self.lora_rank} already: merge it "
                "first (merge_lora)."
            )
        if not (isinstance(rank, int) and rank > 0):
            raise ValueError(
                f"{self.name!r} got a LoRA rank of {rank!r}: give a whole number above "
                "0, such as 8."
            )
        unknown = [n for n in targets or () if n not in self.lora_names]
        if unknown or targets == ():
            raise ValueError(
                f"{self.name!r} got LoRA targets {tuple(targets)}: give names among "
                f"{self.lora_names}."
            )


def _on_mesh_of(kernel):
    """Returns a context in which new weights lie on the mesh of a kernel, if any."""
    # The value itself: a variable that waits for one would draw it to be looked at.
    mesh = getattr(getattr(kernel, "_value", None), "placement", None)
    return contextlib.nullcontext() if mesh is None else mesh
