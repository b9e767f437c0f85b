"""Whether teacher and student speak of the same words."""


def size_of(model) -> int | None:
    """Returns the words that a model scores, or `None` if that is not known before."""
    config = getattr(getattr(model, "backbone", None), "config", None)
    if config is not None:
        return config.vocab_size
    try:
        return model.output_shape[-1]
    except (AttributeError, TypeError, IndexError, KeyError):
        return None


def check_size(found, wanted):
    """Raises `ValueError` if the sizes of two vocabularies are known and differ.

    Args:
        found: the teacher's.
        wanted: the student's.
    """
    if None not in (found, wanted) and found != wanted:
        raise ValueError(
            f"The teacher scores {found} words and the student {wanted}: they need the "
            "same vocabulary. Give the student the teacher's vocab_size, and both the "
            "same task."
        )


def check_models(teacher, student):
    """Raises `ValueError` if two models are known to have different vocabularies."""
    check_size(size_of(teacher), size_of(student))
    protos = [_proto(model) for model in (teacher, student)]
    if None not in protos and protos[0] != protos[1]:
        raise ValueError(
            "The tokenizers of teacher and student are not the same, so that a number "
            "is another word to each: give the student the teacher's tokenizer."
        )


def _proto(model):
    tokenizer = getattr(getattr(model, "preprocessor", None), "tokenizer", None)
    proto = getattr(tokenizer, "proto", None)
    return proto if isinstance(proto, bytes) else None
