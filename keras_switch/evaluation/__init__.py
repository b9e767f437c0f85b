"""What a model is worth: SeqIO's metrics with our decoding and scoring, by task."""

from keras_switch.evaluation.answers import Answers as Answers
from keras_switch.evaluation.measure import TaskMetrics as TaskMetrics
from keras_switch.evaluation.measurement import Measurement as Measurement
from keras_switch.evaluation.observer import TaskEvaluation as TaskEvaluation
from keras_switch.evaluation.peaks import Peaks as Peaks
from keras_switch.evaluation.result import TaskResult as TaskResult
from keras_switch.evaluation.scores import Scores as Scores
