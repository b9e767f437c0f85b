from keras_switch.layers.initializers import (
    ScaledTruncatedNormal as ScaledTruncatedNormal,
)
