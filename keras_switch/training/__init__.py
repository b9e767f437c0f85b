"""What training needs: losses, Adafactor, schedules, one step, the run loop."""

from keras_switch.training.adafactor import Adafactor as Adafactor
from keras_switch.training.factoring import (
    MeshTensorFlowFactoring as MeshTensorFlowFactoring,
)
from keras_switch.training.factoring import T5XFactoring as T5XFactoring
from keras_switch.training.factoring import Unfactored as Unfactored
from keras_switch.training.losses import TokenCrossEntropy as TokenCrossEntropy
from keras_switch.training.losses import cross_entropy as cross_entropy
from keras_switch.training.losses import token_losses as token_losses
from keras_switch.training.schedules import InverseSquareRoot as InverseSquareRoot
from keras_switch.training.schedules import LinearTail as LinearTail
from keras_switch.training.schedules import LinearWarmup as LinearWarmup
