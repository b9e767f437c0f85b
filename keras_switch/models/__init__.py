"""Models: configs as data, their assembly from layers, KerasHub classes, presets."""

from keras_switch.models.backbone import SwitchBackbone as SwitchBackbone
from keras_switch.models.beam_parts import LengthPower as LengthPower
from keras_switch.models.beam_parts import T5LengthPenalty as T5LengthPenalty
from keras_switch.models.beam_parts import WhenBestIsSure as WhenBestIsSure
from keras_switch.models.beam_parts import WhenFull as WhenFull
from keras_switch.models.beam_parts import WhenImpossible as WhenImpossible
from keras_switch.models.beam_parts import WhenUnlikely as WhenUnlikely
from keras_switch.models.beam_rules import HuggingFaceRule as HuggingFaceRule
from keras_switch.models.beam_rules import MeshTensorFlowRule as MeshTensorFlowRule
from keras_switch.models.beam_rules import T5XRule as T5XRule
from keras_switch.models.beam_search import BeamSearch as BeamSearch
from keras_switch.models.causal_lm import SwitchCausalLM as SwitchCausalLM
from keras_switch.models.causal_lm_preprocessor import (
    SwitchCausalLMPreprocessor as SwitchCausalLMPreprocessor,
)
from keras_switch.models.config import LayerMean as LayerMean
from keras_switch.models.config import LayerSum as LayerSum
from keras_switch.models.config import ModelConfig as ModelConfig
from keras_switch.models.config import RouterOptions as RouterOptions
from keras_switch.models.config import Sparse as Sparse
from keras_switch.models.count import Count as Count
from keras_switch.models.count import WeightCount as WeightCount
from keras_switch.models.count import count as count
from keras_switch.models.decoding import sparse_layers as sparse_layers
from keras_switch.models.lora import Lora as Lora
from keras_switch.models.parts import Fourier as Fourier
from keras_switch.models.parts import GatedMlp as GatedMlp
from keras_switch.models.parts import Parallel as Parallel
from keras_switch.models.parts import PlainMlp as PlainMlp
from keras_switch.models.parts import RelativePosition as RelativePosition
from keras_switch.models.parts import RotaryPosition as RotaryPosition
from keras_switch.models.parts import SelfAttention as SelfAttention
from keras_switch.models.parts import Serial as Serial
from keras_switch.models.placement import AllLayers as AllLayers
from keras_switch.models.placement import Bottom as Bottom
from keras_switch.models.placement import Even as Even
from keras_switch.models.placement import Every as Every
from keras_switch.models.placement import HuggingFace as HuggingFace
from keras_switch.models.placement import Middle as Middle
from keras_switch.models.placement import Mixed as Mixed
from keras_switch.models.placement import NoLayers as NoLayers
from keras_switch.models.placement import Odd as Odd
from keras_switch.models.placement import Placement as Placement
from keras_switch.models.placement import Top as Top
from keras_switch.models.prefix_lm_preprocessor import (
    SwitchPrefixLMPreprocessor as SwitchPrefixLMPreprocessor,
)
from keras_switch.models.presets import PRESETS as PRESETS
from keras_switch.models.presets import Preset as Preset
from keras_switch.models.presets import preset as preset
from keras_switch.models.routes import recorded_assignments as recorded_assignments
from keras_switch.models.seq_2_seq_lm import SwitchSeq2SeqLM as SwitchSeq2SeqLM
from keras_switch.models.seq_2_seq_lm_preprocessor import (
    SwitchSeq2SeqLMPreprocessor as SwitchSeq2SeqLMPreprocessor,
)
from keras_switch.models.tokenizer import SwitchTokenizer as SwitchTokenizer
