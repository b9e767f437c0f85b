"""Every name that a gin file may bind; with `cli`'s own files the only one to know gin.

Names are classes and functions of this package and of Keras, taken as they are: gin
gets copies that read its bindings, so that calls in Python never do.
"""

import functools
import inspect

import gin
import keras
import keras_hub

from keras_switch import data, dispatch, evaluation, models, routing, training
from keras_switch import export as exporting
from keras_switch.cli.cache import cache
from keras_switch.cli.cache_logits import cache_logits
from keras_switch.cli.convert import convert, prune_experts, upcycle
from keras_switch.cli.demo import demo
from keras_switch.cli.distill import distill
from keras_switch.cli.evaluate import evaluate
from keras_switch.cli.export import export
from keras_switch.cli.finetune import Adaptation, finetune
from keras_switch.cli.infer import infer
from keras_switch.cli.meshes import PlacementConfig
from keras_switch.cli.plan import plan
from keras_switch.cli.run_config import EvaluationConfig, RunConfig
from keras_switch.cli.serve import serve
from keras_switch.cli.sources import SourceConfig
from keras_switch.cli.teaching import StudentConfig, TeacherConfig
from keras_switch.cli.train import train
from keras_switch.cli.trained import TrainedConfig
from keras_switch.convert import KeepUsed, MergeSimilar
from keras_switch.distillation import NonExpertWeights, SoftTargets

# What each word of the command line calls.
COMMANDS = {
    **{"train": "train", "eval": "evaluate", "demo": "demo", "plan": "plan"},
    **{"cache": "cache", "cache-logits": "cache_logits"},
    **{"finetune": "finetune", "distill": "distill"},
    **{"convert": "convert", "upcycle": "upcycle", "prune-experts": "prune_experts"},
    **{"export": "export", "infer": "infer", "serve": "serve"},
}

OURS = (
    # Models and their parts.
    *(models.ModelConfig, models.Sparse, models.RouterOptions),
    *(models.PlainMlp, models.GatedMlp, models.SelfAttention, models.Fourier),
    *(models.Serial, models.Parallel),
    *(models.RelativePosition, models.RotaryPosition),
    *(models.Every, models.Odd, models.Even, models.HuggingFace, models.Mixed),
    *(models.Top, models.Middle, models.Bottom, models.AllLayers, models.NoLayers),
    *(models.LayerSum, models.LayerMean),
    # Routing policies and their parts.
    *(routing.Switch, routing.TopK, routing.GShardTop2, routing.GShardTopN),
    *(routing.NoTokenLeftBehind, routing.ExpertChoice, routing.ExpertSelection),
    *(routing.Soft, routing.Hash, routing.Uniform),
    *(routing.CapacityFactor, routing.FixedCapacity),
    *(routing.Argmax, routing.InputJitter, routing.InputDropout, routing.Sample),
    routing.LogitNoise,
    *(routing.AllSeconds, routing.NoSeconds, routing.RandomSeconds),
    routing.ThresholdSeconds,
    # How tokens travel.
    *(dispatch.EinsumDispatch, dispatch.GatherDispatch, dispatch.DroplessDispatch),
    *(dispatch.BySequence, dispatch.FixedGroups),
    *(dispatch.MeshTensorFlowGroups, dispatch.FlaxformerGroups),
    # Training.
    *(training.Adafactor, training.T5XFactoring, training.MeshTensorFlowFactoring),
    training.Unfactored,
    *(training.InverseSquareRoot, training.LinearWarmup, training.LinearTail),
    *(training.TokenCrossEntropy, RunConfig, EvaluationConfig, PlacementConfig),
    # Fine-tuning and distillation.
    *(Adaptation, models.Lora, training.Trainable, training.Frozen),
    *(SourceConfig, StudentConfig, TeacherConfig, SoftTargets, NonExpertWeights),
    # Data.
    *(data.DataConfig, data.embedded_vocabulary, data.vocabulary),
    *(data.FileTask, data.TextFileTask, data.TaskMixture),
    *(data.Proportional, data.Equal),
    # Evaluation.
    evaluation.TaskMetrics,
    # Generation.
    *(models.BeamSearch, models.LengthPower, models.T5LengthPenalty),
    *(models.WhenUnlikely, models.WhenFull, models.WhenImpossible),
    *(models.WhenBestIsSure, models.HuggingFaceRule, models.T5XRule),
    models.MeshTensorFlowRule,
    *(TrainedConfig, exporting.Serving, exporting.AsTrained, exporting.Int8),
    # Pruning.
    *(KeepUsed, MergeSimilar),
)
KERAS = (
    *(keras_hub.samplers.RandomSampler, keras_hub.samplers.TopKSampler),
    keras_hub.samplers.TopPSampler,
    *(keras.optimizers.AdamW, keras.optimizers.Adam, keras.optimizers.SGD),
    *(keras.optimizers.Lion, keras.optimizers.Muon),
    keras.optimizers.schedules.CosineDecay,
    keras.optimizers.schedules.PolynomialDecay,
    keras.optimizers.schedules.ExponentialDecay,
    keras.optimizers.schedules.PiecewiseConstantDecay,
)


def names() -> tuple[str, ...]:
    """Returns the names, to be suggested in place of unknown ones."""
    return (*COMMANDS.values(), *(thing.__name__ for thing in (*OURS, *KERAS)))


@functools.cache
def register():
    """Makes the names known to gin."""
    for module, things in (("keras_switch", OURS), ("keras", KERAS)):
        for thing in things:
            gin.external_configurable(thing, name=thing.__name__, module=module)
    conversions = (convert, upcycle, prune_experts, finetune, distill, cache_logits)
    answers = (export, infer, serve)
    for command in (train, evaluate, cache, demo, plan, *conversions, *answers):
        gin.external_configurable(
            deferred(command), name=command.__name__, module="keras_switch"
        )


def deferred(command):
    """Returns a function that makes the arguments of a command but does not run it.

    So a mistake in an argument shows before the run begins, and what is raised then is
    the run's own.

    Args:
        command: function.

    Returns:
        Function of the same arguments that returns `command` with them bound.
    """

    @functools.wraps(command)
    def bind(*arguments, **keywords):
        return functools.partial(command, *arguments, **keywords)

    # What gin reads; `save_config` is none of its business.
    signature = inspect.signature(command)
    bindable = [p for name, p in signature.parameters.items() if name != "save_config"]
    bind.__signature__ = signature.replace(parameters=bindable)
    return bind
