"""A server for trying an exported model out, with TF Serving's protocols.

Needs TensorFlow and `keras-switch[serve]`, and nothing else of this library.
"""

from keras_switch.serving.errors import Refused as Refused
from keras_switch.serving.model import ServedModel as ServedModel
from keras_switch.serving.options import Options as Options
from keras_switch.serving.server import run as run
from keras_switch.serving.server import served as served
