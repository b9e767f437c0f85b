import json
import subprocess
import sys

import pytest

import keras_switch as ks

ROOMS = (
    *("routing", "dispatch", "layers", "models", "convert", "training", "data"),
    *("distillation", "evaluation", "export", "planning", "serving"),
)

MODULES_ADDED = """
import json, sys
import keras_hub
before = set(sys.modules)
import keras_switch
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_an_attribute_and_exports_names_of_its_own(room):
    module = getattr(ks, room)
    names = [name for name in vars(module) if not name.startswith("_")]
    assert names
    for name in names:
        origin = getattr(getattr(module, name), "__module__", f"keras_switch.{room}")
        assert origin.split(".")[:2] == ["keras_switch", room], name


@pytest.mark.parametrize(
    "name",
    [
        "layers.SwitchFeedForward",
        "models.SwitchBackbone",
        "models.SwitchSeq2SeqLM",
        "models.SwitchCausalLM",
        "models.ModelConfig",
        "routing.Switch",
        "routing.TopK",
        "dispatch.GatherDispatch",
        "training.Adafactor",
        "training.TokenCrossEntropy",
        "training.train",
        "data.DataConfig",
        "data.batches",
        "distillation.distill",
        "distillation.Distiller",
        "training.Frozen",
        "export.Serving",
        "export.Int8",
        "serving.ServedModel",
        "planning.plan",
    ],
)
def test_what_the_documents_name_is_there(name):
    room, attribute = name.split(".")
    assert callable(getattr(getattr(ks, room), attribute))


def test_importing_it_pulls_in_nothing_heavy_beyond_keras_hub():
    # Keras itself imports JAX and others where they are installed.
    printed = subprocess.run(
        [sys.executable, "-c", MODULES_ADDED],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    packages = {name.split(".")[0] for name in json.loads(printed.splitlines()[-1])}
    heavy = {"seqio", "t5", "jax", "pandas", "tensorflow_datasets", "sklearn"}
    assert not packages & (heavy | {"matplotlib", "torch", "transformers"})
