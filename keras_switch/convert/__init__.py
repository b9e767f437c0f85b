"""Published checkpoints in and out: Hugging Face, T5X, Mesh TensorFlow."""

from keras_switch.convert.conversion import Vocabulary as Vocabulary
from keras_switch.convert.conversion import read as read
from keras_switch.convert.conversion import write as write
from keras_switch.convert.demonstration import demonstration as demonstration
from keras_switch.convert.engine import Report as Report
from keras_switch.convert.engine import checksums as checksums
from keras_switch.convert.errors import ConversionError as ConversionError
from keras_switch.convert.model import Imported as Imported
from keras_switch.convert.presets import from_preset as from_preset
from keras_switch.convert.progress import Progress as Progress
from keras_switch.convert.pruning import KeepUsed as KeepUsed
from keras_switch.convert.pruning import MergeSimilar as MergeSimilar
from keras_switch.convert.pruning import prune_experts as prune_experts
from keras_switch.convert.upcycling import upcycle as upcycle
