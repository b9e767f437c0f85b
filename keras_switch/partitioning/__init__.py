"""Layouts: named dimensions of tensors over the named axes of a mesh of devices."""

from keras_switch.partitioning.rules import LayoutRules as LayoutRules
from keras_switch.partitioning.scope import constrain as constrain
from keras_switch.partitioning.shape import MeshShape as MeshShape
