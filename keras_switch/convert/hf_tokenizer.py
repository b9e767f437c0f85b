"""Hugging Face's T5 tokenizer files: the SentencePiece model, and its sentinels."""

import json
import pathlib

from keras_switch.convert.errors import ConversionError
from keras_switch.convert.hf_files import TOKENIZER, TOKENIZER_CONFIG
from keras_switch.models import SwitchTokenizer

_DEFAULT_SENTINELS = 100  # of transformers' T5Tokenizer


def read(files) -> SwitchTokenizer | None:
    """Returns the tokenizer of a folder, or `None` if it has no SentencePiece model.

    Args:
        files: `Files`.
    """
    path = files.get(TOKENIZER)
    if path is None:
        return None
    there = files.get(TOKENIZER_CONFIG) is not None
    settings = files.json(TOKENIZER_CONFIG, "it was there") if there else {}
    extra = settings.get("extra_ids", _DEFAULT_SENTINELS)
    return tokenizer(path, extra)


def tokenizer(path: pathlib.Path, num_sentinels: int) -> SwitchTokenizer:
    """Returns the tokenizer of a SentencePiece model.

    Args:
        path: its file.
        num_sentinels: sentinels to add behind its pieces.

    Raises:
        ConversionError: if it is damaged.
    """
    import tensorflow as tf  # by which KerasHub's tokenizers run, whatever the backend

    try:
        return SwitchTokenizer(path.read_bytes(), num_sentinels=num_sentinels)
    except (tf.errors.OpError, RuntimeError) as error:
        raise ConversionError(
            f"{path} is no intact SentencePiece model: get it anew."
        ) from error


def write(tokenizer, folder: pathlib.Path):
    """Writes the files of a tokenizer; there are none if the model has none."""
    if tokenizer is None or tokenizer.proto is None:
        return
    count = tokenizer.num_sentinels
    (folder / TOKENIZER).write_bytes(_without_sentinels(tokenizer.proto, count))
    sentinels = [f"<extra_id_{n}>" for n in range(count)]
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    special["additional_special_tokens"] = sentinels
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": count, **special}
    _write_json(folder / TOKENIZER_CONFIG, settings)
    _write_json(folder / "special_tokens_map.json", special)


def _without_sentinels(proto, count):
    """Returns a SentencePiece model without the pieces that transformers adds."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(proto)
    if count:
        del model.pieces[-count:]
    return model.SerializeToString()


def _write_json(path, values):
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
