"""Several tasks and languages at once, on files of this machine.

Classification (`sst2`, `trec`, `subj`), translation between English and German, French
and Czech (`multi30k_*`), questions (`nq_open`) and WikiText span corruption, in three
mixtures of the same tasks:

    several_proportional    as often as a task has examples, 10,000 at most
    several_temperature     the square roots of their numbers of examples
    several_equal           all equally often

The vocabulary, 4,096 ids, is made of the training texts of all of them.
"""

import functools

from keras_switch.data import environment, registry
from keras_switch.data.corpus_vocabulary import CorpusVocabulary
from keras_switch.data.mixing import Equal, Proportional, num_examples
from keras_switch.tasks import multi30k, nq_open, sentences, wikitext

seqio = environment.load("seqio")

TASKS = (
    *sentences.LABELS,
    *(f"multi30k_en_{language}" for language in ("de", "fr", "cs")),
    *(f"multi30k_{language}_en" for language in ("de", "fr", "cs")),
    "nq_open",
    "wikitext2_span_corruption",
)
# WikiText's rows are articles; cut to 128 tokens they give about this many examples.
WIKITEXT_EXAMPLES = 4000


def vocabulary():
    """Returns the vocabulary of all texts, 4,096 ids."""
    return CorpusVocabulary("several", _texts, 4096)


def _texts():
    texts = multi30k.all_sentences() + [r["text"] for r in wikitext.articles("train")]
    for task in sentences.LABELS:
        texts += [row["inputs"] for row in sentences.rows(task, "train")]
        texts += sentences.LABELS[task]
    rows = nq_open.rows("train")
    return texts + [row[key] for row in rows for key in ("inputs", "targets")]


def _rate(rates, task):
    if task.name.startswith("wikitext2"):
        size = WIKITEXT_EXAMPLES
    else:
        size = num_examples(task, "train")
    return rates.of(size)


def _add(name, rates):
    tasks = [registry.find(task, vocabulary()) for task in TASKS]
    rate = functools.partial(_rate, rates)
    seqio.MixtureRegistry.add(name, [(task, rate) for task in tasks])


_add("several_proportional", Proportional(maximum=10_000))
_add("several_temperature", Proportional(temperature=2.0))
_add("several_equal", Equal())
