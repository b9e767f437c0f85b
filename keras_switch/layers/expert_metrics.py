"""What the experts of a layer did since the last reset, as a Keras metric.

Axes: E experts.
"""

import keras
from keras import ops


class ExpertMetrics(keras.metrics.Metric):
    """Averages of a layer's routing over the batches since the last reset.

    Its result is a dictionary of scalars, which Keras puts into the progress bar, the
    history and TensorBoard: `<name>_dropped`, share of the tokens that no expert
    served; `<name>_confidence`, mean gate of the choices that were served;
    `<name>_max_load`, load of the busiest expert as a multiple of an even share (1 when
    even, E when one takes all). `load` holds the whole vector.

    Args:
        num_experts: E.
        name: prefix of the results, the layer's name.
    """

    def __init__(self, num_experts, name):
        # Averages of thousands of batches need float32 under every policy.
        super().__init__(name=name, dtype="float32")
        self.num_experts = num_experts
        zeros = keras.initializers.Zeros()
        self._load = self.add_variable((num_experts,), zeros, name="load")
        self._dropped = self.add_variable((), zeros, name="dropped")
        self._confidence = self.add_variable((), zeros, name="confidence")
        self._batches = self.add_variable((), zeros, name="batches")

    def update_state(self, metrics):
        """Adds one batch: what `routing.metrics` returns."""
        self._load.assign_add(metrics["load"])
        self._dropped.assign_add(metrics["dropped"])
        self._confidence.assign_add(metrics["confidence"])
        self._batches.assign_add(1.0)

    @property
    def load(self):
        """`(E,)` float32, each expert's share of the choices asked for."""
        return self._mean(self._load)

    def result(self):
        return {
            f"{self.name}_dropped": self._mean(self._dropped),
            f"{self.name}_confidence": self._mean(self._confidence),
            f"{self.name}_max_load": ops.max(self.load) * self.num_experts,
        }

    def _mean(self, total):
        return total / ops.maximum(self._batches, 1.0)
