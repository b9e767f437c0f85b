"""Tiny language models with something to say, to be exported."""

import io

import helpers_models as helpers

from keras_switch import models

TEXT = ["the quick brown fox jumps over the lazy dog", "a lazy dog sleeps all day long"]


def tokenizer():
    """Returns a `SwitchTokenizer` of a few words, with five sentinels."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 20),
        model_writer=model,
        vocab_size=60,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    return models.SwitchTokenizer(model.getvalue(), num_sentinels=5)


def language_model(dtype=None, scale=0.5, **changes):
    """Returns an encoder-decoder with a tokenizer and random weights."""
    words = tokenizer()
    size = -(-words.vocabulary_size() // 8) * 8
    config = helpers.tiny(vocab_size=size, num_sentinels=5, **changes)
    model = models.SwitchSeq2SeqLM(
        models.SwitchBackbone(config, dtype=dtype),
        models.SwitchSeq2SeqLMPreprocessor(words, 32, 8),
    )
    helpers.scatter(model, scale)
    return model


def decoder(dtype=None, **changes):
    """Returns a decoder of token ids with random weights."""
    config = helpers.tiny(architecture="decoder-only", **changes)
    model = models.SwitchCausalLM(models.SwitchBackbone(config, dtype=dtype))
    helpers.scatter(model, 0.5)
    return model
