"""Plans: memory, messages, arithmetic and time of a training step, before it is run."""

from keras_switch.planning.batch import Batch as Batch
from keras_switch.planning.chips import CHIPS as CHIPS
from keras_switch.planning.chips import Axis as Axis
from keras_switch.planning.chips import Chip as Chip
from keras_switch.planning.chips import Nodes as Nodes
from keras_switch.planning.chips import Torus as Torus
from keras_switch.planning.chips import chip as chip
from keras_switch.planning.collectives import Collective as Collective
from keras_switch.planning.collectives import Layout as Layout
from keras_switch.planning.collectives import collectives as collectives
from keras_switch.planning.memory import Memory as Memory
from keras_switch.planning.plan import Plan as Plan
from keras_switch.planning.plan import plan as plan
from keras_switch.planning.report import summary as summary
from keras_switch.planning.report import text as text
from keras_switch.planning.timing import Flops as Flops
from keras_switch.planning.timing import Time as Time
from keras_switch.planning.timing import (
    model_flops_utilization as model_flops_utilization,
)
from keras_switch.planning.timing import palm_flops_per_token as palm_flops_per_token
from keras_switch.planning.walk import walk as walk
