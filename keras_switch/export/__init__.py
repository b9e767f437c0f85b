"""Export: models as SavedModels that TF Serving loads without this library."""

from keras_switch.export.int8 import AsTrained as AsTrained
from keras_switch.export.int8 import Int8 as Int8
from keras_switch.export.int8 import Quality as Quality
from keras_switch.export.options import Serving as Serving
from keras_switch.export.saved_model import Exported as Exported
from keras_switch.export.saved_model import write as write
