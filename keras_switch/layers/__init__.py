from keras_switch.layers.attention import Attention as Attention
from keras_switch.layers.block import Block as Block
from keras_switch.layers.cross_block import CrossBlock as CrossBlock
from keras_switch.layers.embedding import TokenEmbedding as TokenEmbedding
from keras_switch.layers.experts import Experts as Experts
from keras_switch.layers.experts import GatedExperts as GatedExperts
from keras_switch.layers.feed_forward import FeedForward as FeedForward
from keras_switch.layers.fourier_mixing import FourierMixing as FourierMixing
from keras_switch.layers.gated_feed_forward import GatedFeedForward as GatedFeedForward
from keras_switch.layers.initializers import (
    ScaledTruncatedNormal as ScaledTruncatedNormal,
)
from keras_switch.layers.masks import attention_mask as attention_mask
from keras_switch.layers.masks import causal_mask as causal_mask
from keras_switch.layers.mlp_block import MlpBlock as MlpBlock
from keras_switch.layers.normalization import RMSNorm as RMSNorm
from keras_switch.layers.parallel_block import ParallelBlock as ParallelBlock
from keras_switch.layers.relative_bias import RelativeBias as RelativeBias
from keras_switch.layers.rotary import Rotary as Rotary
from keras_switch.layers.router import Router as Router
from keras_switch.layers.stack import Stack as Stack
from keras_switch.layers.switch_feed_forward import (
    SwitchFeedForward as SwitchFeedForward,
)
