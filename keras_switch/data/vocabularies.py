"""SentencePiece vocabularies: T5's by path, and one trained on the embedded corpus.

Ids as in T5 (arXiv:1910.10683, section 2.2): 0 padding, 1 end of sequence, 2 unknown;
the sentinels `<extra_id_0>`, `<extra_id_1>`, ... count down from the last id.
"""

import hashlib
import io
import pathlib

from keras_switch.data import corpus, environment
from keras_switch.data.cache import cached

NUM_SENTINELS = 100  # T5: enough for 15 % noise in spans of three up to 2,000 tokens
EMBEDDED_SIZE = 1024

_SAMPLE_CHARACTERS = 2_500_000  # text for training; more takes longer, gains nothing
_SETTINGS = {
    "model_type": "unigram",
    "pad_id": 0,
    "eos_id": 1,
    "unk_id": 2,
    "bos_id": -1,
    "num_threads": 1,  # several would add up in another order every time
    "max_sentence_length": 1 << 20,  # bytes; the default drops longer documents
    "character_coverage": 0.9999,
}


def embedded_vocabulary(size: int = EMBEDDED_SIZE):
    """Returns the `seqio.SentencePieceVocabulary` of the embedded corpus.

    It is trained when its first id is asked for, in ten seconds, once on an
    installation: the same text gives the same vocabulary to the last byte.

    Args:
        size: ids in all, the 100 sentinels included. A multiple of 128 leaves no row of
            the model's token table unused.

    Raises:
        ValueError: if `size` has no room for sentinels and letters.
    """
    if size < 512:
        raise ValueError(
            f"A vocabulary of size {size} has no room for {NUM_SENTINELS} sentinels "
            "and the letters of English text. Give at least 512."
        )
    environment.load("seqio")
    from keras_switch.data.lazy_vocabulary import EmbeddedVocabulary

    return EmbeddedVocabulary(size, NUM_SENTINELS)


def vocabulary(path: str, extra_ids: int = NUM_SENTINELS):
    """Returns the `seqio.SentencePieceVocabulary` of a model file.

    Args:
        path: the `.model` file, local or anything `tf.io.gfile` reads.
        extra_ids: sentinels to add behind its pieces; 0 for a file that has them.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    seqio = environment.load("seqio")
    import tensorflow as tf

    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(
            f"There is no vocabulary at {path!r}. Give the path of a SentencePiece "
            "model, such as T5's 'sentencepiece.model'."
        )
    return seqio.SentencePieceVocabulary(path, extra_ids=extra_ids)


def embedding_size(vocabulary, multiple: int = 128) -> int:
    """Returns the rows of the token table: the ids, rounded up as T5 does."""
    return -(-vocabulary.vocab_size // multiple) * multiple


def check_fits(vocabulary, vocab_size: int, task: str):
    """Compares a task's vocabulary with the token table of a model.

    Raises:
        ValueError: if the vocabulary has ids beyond `vocab_size`.
    """
    if vocabulary.vocab_size > vocab_size:
        raise ValueError(
            f"The model has vocab_size={vocab_size}, but the vocabulary of task "
            f"{task!r} has {vocabulary.vocab_size} ids. Set the model's vocab_size to "
            f"{embedding_size(vocabulary)} or more, or use a smaller vocabulary."
        )


def embedded_model(num_pieces: int) -> pathlib.Path:
    """Returns the path of the SentencePiece model of the embedded corpus.

    Args:
        num_pieces: ids in the model, which has no sentinels.

    Raises:
        ValueError: if the corpus does not have so many pieces.
    """
    texts = sample(corpus.documents("train"))
    key = hashlib.sha256(repr((num_pieces, sorted(_SETTINGS.items()))).encode())
    for text in texts:
        key.update(text.encode())
    name = f"vocabulary-{num_pieces}-{key.hexdigest()[:16]}.model"
    return cached(name, lambda: train(texts, num_pieces))


def sample(texts):
    """Returns every n-th text, so that there is enough to train on and no more."""
    return texts[:: max(1, sum(map(len, texts)) // _SAMPLE_CHARACTERS)]


def train(texts, num_pieces: int) -> bytes:
    """Returns a SentencePiece unigram model of exactly `num_pieces` pieces.

    Args:
        texts: iterable of lines of text.
        num_pieces: pieces, padding, end and unknown included.

    Raises:
        ValueError: if the texts do not have so many pieces.
    """
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=num_pieces,
            minloglevel=2,
            **_SETTINGS,
        )
    except RuntimeError as error:
        raise ValueError(
            f"The text does not give a vocabulary of {num_pieces} pieces: {error}. Ask "
            "for fewer, or give more text."
        ) from error
    return model.getvalue()
