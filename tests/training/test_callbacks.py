import json

import helpers_training as h
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_switch.training.callbacks import ExpertLoad
from keras_switch.training.losses import TokenCrossEntropy


@pytest.mark.parametrize("validate", [False, True])
def test_fit_tells_the_load_of_every_expert_in_each_training_epoch(tmp_path, validate):
    model = h.sparse_model(layers=1)
    model.compile("sgd", TokenCrossEntropy())
    data = h.dataset(3, repeat=False)
    history = model.fit(
        data,
        epochs=2,
        verbose=0,
        shuffle=False,
        validation_data=data.take(1) if validate else None,
        callbacks=[ExpertLoad(tmp_path)],
    ).history
    lines = (tmp_path / "experts.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [line["epoch"] for line in told] == [0, 1]
    name = next(name for name in history if name.endswith("_dropped"))
    for line, dropped in zip(told, history[name], strict=True):
        (layer,) = line["experts"].values()
        np.testing.assert_allclose(sum(layer["load"]), 1, rtol=1e-5)
        np.testing.assert_allclose(layer["dropped"], dropped, rtol=1e-5)
    events = EventAccumulator(str(tmp_path / "experts"), size_guidance={"tensors": 0})
    assert "experts/load" in events.Reload().Tags()["tensors"]


def test_a_model_without_experts_is_refused(tmp_path):
    model = h.dense_model()
    model.compile("sgd", TokenCrossEntropy())
    with pytest.raises(ValueError, match="no SwitchFeedForward"):
        callbacks = [ExpertLoad(tmp_path)]
        model.fit(h.dataset(1, repeat=False), callbacks=callbacks, shuffle=False)
