"""Averages of routing since the last reset."""

import numpy as np
import pytest

from keras_switch.layers.expert_metrics import ExpertMetrics


def test_results_are_means_over_batches_until_reset():
    metric = ExpertMetrics(2, name="moe")
    assert all(float(value) == 0 for value in metric.result().values())
    batch = {"load": [0.5, 0.5], "dropped": 0.0, "confidence": 0.6}
    metric.update_state({k: np.float32(v) for k, v in batch.items()})
    batch = {"load": [1.0, 0.0], "dropped": 0.5, "confidence": 1.0}
    metric.update_state({k: np.float32(v) for k, v in batch.items()})
    result = {name: float(value) for name, value in metric.result().items()}
    np.testing.assert_allclose(metric.load, [0.75, 0.25])
    assert result == pytest.approx(
        {"moe_dropped": 0.25, "moe_confidence": 0.8, "moe_max_load": 1.5}
    )
    metric.reset_state()
    np.testing.assert_array_equal(metric.load, [0, 0])
