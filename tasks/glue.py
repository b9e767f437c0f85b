"""GLUE (arXiv:1804.07461), as T5 writes it.

Tasks `glue_cola`, `glue_sst2`, `glue_mrpc`, `glue_qqp`, `glue_stsb`, `glue_mnli`,
`glue_mnli_matched`, `glue_mnli_mismatched`, `glue_qnli`, `glue_rte`, `glue_wnli` and
`glue_ax`; the mixture `glue` takes each as often as it has examples, without WNLI, as
T5 does. Texts, labels and metrics are those of t5's `glue_*_v002`. The Switch paper
reports the average over the tasks (section 3.1, table 5).
"""

from keras_switch.data import environment
from keras_switch.data.catalogue import CatalogueSource, tfds
from keras_switch.data.mixing import add_mixture
from keras_switch.data.pairs import add_pairs
from keras_switch.data.published import PublishedVocabulary

utils = environment.load("t5.data.glue_utils")

_USUAL = ("train", "validation", "test")
_DEVELOPMENT = ("validation_matched", "validation_mismatched")
_TEST = ("test_matched", "test_mismatched")
_SPLITS = {
    "ax": ("test",),
    "mnli": ("train", *_DEVELOPMENT, *_TEST),
    "mnli_matched": ("validation", "test"),
    "mnli_mismatched": ("validation", "test"),
}


def _add(config):
    add_pairs(
        f"glue_{config.name}",
        CatalogueSource(f"glue/{config.name}:1.0.0", _SPLITS.get(config.name, _USUAL)),
        [utils.get_glue_text_preprocessor(config)],
        PublishedVocabulary("t5"),
        utils.get_glue_metric(config.name),
        utils.get_glue_postprocess_fn(config),
    )


def _ours(name):
    return name.removesuffix("_v002")


for _config in tfds.text.glue.Glue.builder_configs.values():
    _add(_config)
_rates = utils.get_glue_weight_mapping()
add_mixture("glue", {_ours(name): rate for name, rate in _rates.items()}, None)
