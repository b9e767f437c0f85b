"""What training needs: losses, Adafactor, schedules, one step, the run loop."""

from keras_switch.training.adafactor import Adafactor as Adafactor
from keras_switch.training.auxiliary import mean_over_layers as mean_over_layers
from keras_switch.training.auxiliary import sum_over_layers as sum_over_layers
from keras_switch.training.auxiliary import total_loss as total_loss
from keras_switch.training.callbacks import ExpertLoad as ExpertLoad
from keras_switch.training.checkpoints import Checkpoints as Checkpoints
from keras_switch.training.evaluate import EvalStep as EvalStep
from keras_switch.training.evaluate import evaluate as evaluate
from keras_switch.training.experts import expert_use as expert_use
from keras_switch.training.factoring import Factoring as Factoring
from keras_switch.training.factoring import (
    MeshTensorFlowFactoring as MeshTensorFlowFactoring,
)
from keras_switch.training.factoring import T5XFactoring as T5XFactoring
from keras_switch.training.factoring import Unfactored as Unfactored
from keras_switch.training.freezing import Frozen as Frozen
from keras_switch.training.freezing import Trainable as Trainable
from keras_switch.training.freezing import chosen as chosen
from keras_switch.training.interruption import Interrupted as Interrupted
from keras_switch.training.logs import JsonLines as JsonLines
from keras_switch.training.logs import Progress as Progress
from keras_switch.training.logs import TensorBoard as TensorBoard
from keras_switch.training.logs import read_records as read_records
from keras_switch.training.loop import train as train
from keras_switch.training.loop import usual_observers as usual_observers
from keras_switch.training.losses import TokenCrossEntropy as TokenCrossEntropy
from keras_switch.training.losses import cross_entropy as cross_entropy
from keras_switch.training.losses import token_losses as token_losses
from keras_switch.training.observers import Diverged as Diverged
from keras_switch.training.observers import DivergenceGuard as DivergenceGuard
from keras_switch.training.observers import Observer as Observer
from keras_switch.training.records import History as History
from keras_switch.training.records import Record as Record
from keras_switch.training.run_folder import load_run as load_run
from keras_switch.training.saving import CheckpointError as CheckpointError
from keras_switch.training.schedules import InverseSquareRoot as InverseSquareRoot
from keras_switch.training.schedules import LinearTail as LinearTail
from keras_switch.training.schedules import LinearWarmup as LinearWarmup
from keras_switch.training.step import TrainStep as TrainStep
