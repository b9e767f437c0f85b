"""SuperGLUE (arXiv:1905.00537), as T5 writes it.

Tasks `super_glue_boolq`, `super_glue_cb`, `super_glue_copa`, `super_glue_multirc`,
`super_glue_record`, `super_glue_rte`, `super_glue_wic`, `super_glue_wsc_train` (true
referents alone), `super_glue_wsc_eval`, `super_glue_axb`, `super_glue_axg`, and `dpr`,
pronouns that T5 trains WSC with. The mixture `super_glue` takes each as often as it has
examples. Texts, labels and metrics are those of t5's `super_glue_*_v102`.
"""

import functools

from keras_switch.data import environment
from keras_switch.data.catalogue import CatalogueSource, tfds
from keras_switch.data.mixing import add_mixture
from keras_switch.data.pairs import add_pairs
from keras_switch.data.published import PublishedVocabulary

utils = environment.load("t5.data.glue_utils")
preprocessors = environment.load("t5.data.preprocessors")
postprocessors = environment.load("t5.data.postprocessors")
metrics = environment.load("t5.evaluation.metrics")

VERSION = "1.0.2"
_USUAL = ("train", "validation", "test")
_TEST_ONLY = ("axb", "axg")
_AXB_KEYS = {
    **{"premise": "sentence1", "hypothesis": "sentence2"},
    **{"label": "label", "idx": "idx"},
}


def _add(config):
    steps = [utils.get_glue_text_preprocessor(config)]
    if config.name == "axb":  # written as RTE, whose columns have other names
        steps.insert(0, functools.partial(preprocessors.rekey, key_map=_AXB_KEYS))
    add_pairs(
        f"super_glue_{config.name}",
        CatalogueSource(
            f"super_glue/{config.name}:{VERSION}",
            ("test",) if config.name in _TEST_ONLY else _USUAL,
        ),
        steps,
        PublishedVocabulary("t5"),
        utils.get_super_glue_metric(config.name),
        utils.get_glue_postprocess_fn(config),
    )


def _add_wsc(name, splits, correct_referent_only, **scoring):
    step = functools.partial(
        preprocessors.wsc_simple, correct_referent_only=correct_referent_only
    )
    source = CatalogueSource(f"super_glue/wsc.fixed:{VERSION}", splits)
    add_pairs(name, source, [step], PublishedVocabulary("t5"), **scoring)


def _ours(name):
    renamed = {
        "dpr_v001_simple": "dpr",
        "super_glue_wsc_v102_simple_train": "super_glue_wsc_train",
        "super_glue_wsc_v102_simple_eval": "super_glue_wsc_eval",
    }
    return renamed.get(name, name.removesuffix("_v102"))


for _config in tfds.text.super_glue.SuperGlue.builder_configs.values():
    if "wsc" not in _config.name:
        _add(_config)
_add_wsc("super_glue_wsc_train", ("train",), True)
_add_wsc(
    "super_glue_wsc_eval",
    ("validation", "test"),
    False,
    metrics=[metrics.accuracy],
    postprocess=postprocessors.wsc_simple,
)
add_pairs(
    "dpr",
    CatalogueSource("definite_pronoun_resolution:1.1.0", ("train", "test")),
    [preprocessors.definite_pronoun_resolution_simple],
    PublishedVocabulary("t5"),
    [metrics.accuracy],
)
_rates = utils.get_super_glue_weight_mapping()
add_mixture("super_glue", {_ours(name): rate for name, rate in _rates.items()}, None)
