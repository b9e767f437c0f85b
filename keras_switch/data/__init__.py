"""Text to batches: the embedded corpus, vocabularies, SeqIO tasks, Keras triples."""

from keras_switch.data.config import DataConfig as DataConfig
from keras_switch.data.file_task import FileTask as FileTask
from keras_switch.data.file_task import TextFileTask as TextFileTask
from keras_switch.data.mixing import Equal as Equal
from keras_switch.data.mixing import Proportional as Proportional
from keras_switch.data.mixing import TaskMixture as TaskMixture
from keras_switch.data.pipeline import batches as batches
from keras_switch.data.pipeline import padding_share as padding_share
from keras_switch.data.vocabularies import embedded_vocabulary as embedded_vocabulary
from keras_switch.data.vocabularies import embedding_size as embedding_size
from keras_switch.data.vocabularies import vocabulary as vocabulary
