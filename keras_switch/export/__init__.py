"""Export: models as SavedModels that TF Serving loads without this library."""

from keras_switch.export.options import Serving as Serving
from keras_switch.export.saved_model import Exported as Exported
from keras_switch.export.saved_model import write as write
