"""Routing: router logits in; who visits which expert, losses and metrics out."""

from keras_switch.routing.assignment import Assignment as Assignment
from keras_switch.routing.assignment import Slots as Slots
from keras_switch.routing.capacity import CapacityFactor as CapacityFactor
from keras_switch.routing.capacity import FixedCapacity as FixedCapacity
from keras_switch.routing.expert_choice import ExpertChoice as ExpertChoice
from keras_switch.routing.expert_choice import ExpertSelection as ExpertSelection
from keras_switch.routing.exploration import Argmax as Argmax
from keras_switch.routing.exploration import Exploration as Exploration
from keras_switch.routing.exploration import InputDropout as InputDropout
from keras_switch.routing.exploration import InputJitter as InputJitter
from keras_switch.routing.exploration import LogitNoise as LogitNoise
from keras_switch.routing.exploration import Sample as Sample
from keras_switch.routing.fixed import Hash as Hash
from keras_switch.routing.fixed import Uniform as Uniform
from keras_switch.routing.gshard import GShardTop2 as GShardTop2
from keras_switch.routing.gshard import GShardTopN as GShardTopN
from keras_switch.routing.losses import over_layers as over_layers
from keras_switch.routing.metrics import metrics as metrics
from keras_switch.routing.no_token_left_behind import (
    NoTokenLeftBehind as NoTokenLeftBehind,
)
from keras_switch.routing.part import Part as Part
from keras_switch.routing.policy import Policy as Policy
from keras_switch.routing.second import AllSeconds as AllSeconds
from keras_switch.routing.second import NoSeconds as NoSeconds
from keras_switch.routing.second import RandomSeconds as RandomSeconds
from keras_switch.routing.second import SecondPolicy as SecondPolicy
from keras_switch.routing.second import ThresholdSeconds as ThresholdSeconds
from keras_switch.routing.soft import Soft as Soft
from keras_switch.routing.token_choice import Switch as Switch
from keras_switch.routing.token_choice import TopK as TopK
