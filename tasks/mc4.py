"""mC4: web text in 101 languages, what mT5 and mSwitch are trained on.

Tasks `mc4_<language>`, span corruption with mT5's vocabulary, such as `mc4_de`, and the
mixture `mc4` of all. The languages are those of arXiv:2010.11934, table 6; six have a
second code for Latin script, such as `mc4_bg_Latn`. A language of n pages has the rate
n**0.3 (section 3.1 there). Each has a split `validation` of its own, so that
`keras-switch eval` tells the perplexity of every language.
"""

from keras_switch.data import environment
from keras_switch.data.catalogue import CatalogueSource
from keras_switch.data.mixing import Proportional, add_mixture
from keras_switch.data.objectives import text_task
from keras_switch.data.published import PublishedVocabulary

_CODES = """
    af am ar az be bg bg-Latn bn ca ceb co cs cy da de el el-Latn en eo es et eu fa fi
    fil fr fy ga gd gl gu ha haw hi hi-Latn hmn ht hu hy id ig is it iw ja ja-Latn jv ka
    kk km kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt my ne nl no ny pa pl ps pt
    ro ru ru-Latn sd si sk sl sm sn so sq sr st su sv sw ta te tg th tr uk ur uz vi xh
    yi yo zh zh-Latn zu
"""
LANGUAGES = tuple(_CODES.split())

BY_HAND = (
    "it is made of terabytes of web pages and needs Apache Beam on many machines, so "
    "it is never prepared by itself."
)


def name_of(language: str) -> str:
    """Returns the name of the task of a language code."""
    return f"mc4_{language.replace('-', '_')}"


def _add(language):
    splits = {"train": language, "validation": f"{language}-validation"}
    source = CatalogueSource("c4/multilingual:3.1.0", splits, BY_HAND)
    environment.load("seqio").TaskRegistry.add(
        name_of(language),
        **text_task(source, PublishedVocabulary("mt5"), "span_corruption"),
    )


for _language in LANGUAGES:
    _add(_language)
add_mixture("mc4", map(name_of, LANGUAGES), Proportional(temperature=1 / 0.3))
