"""Routing: router logits in; an assignment of tokens to experts, losses, metrics out."""

from keras_switch.routing.assignment import Assignment as Assignment
from keras_switch.routing.assignment import Slots as Slots
from keras_switch.routing.capacity import CapacityFactor as CapacityFactor
from keras_switch.routing.capacity import FixedCapacity as FixedCapacity
from keras_switch.routing.exploration import Argmax as Argmax
from keras_switch.routing.exploration import InputDropout as InputDropout
from keras_switch.routing.exploration import InputJitter as InputJitter
from keras_switch.routing.exploration import LogitNoise as LogitNoise
from keras_switch.routing.exploration import Sample as Sample
from keras_switch.routing.policy import Policy as Policy
from keras_switch.routing.token_choice import Switch as Switch
from keras_switch.routing.token_choice import TopK as TopK
