"""Students that learn from a teacher: Switch Transformers made small again."""

from keras_switch.distillation.cache import cache_logits as cache_logits
from keras_switch.distillation.cache import cached_batches as cached_batches
from keras_switch.distillation.cache import cached_task as cached_task
from keras_switch.distillation.distiller import Distiller as Distiller
from keras_switch.distillation.soft_targets import SoftTargets as SoftTargets
from keras_switch.distillation.step import DistillStep as DistillStep
from keras_switch.distillation.step import distill as distill
from keras_switch.distillation.students import Inherited as Inherited
from keras_switch.distillation.students import NonExpertWeights as NonExpertWeights
from keras_switch.distillation.teachers import FunctionTeacher as FunctionTeacher
from keras_switch.distillation.teachers import ModelTeacher as ModelTeacher
from keras_switch.distillation.teachers import SavedModelTeacher as SavedModelTeacher
from keras_switch.distillation.teachers import as_teacher as as_teacher
