"""What goes wrong with checkpoints."""


class ConversionError(ValueError):
    """A checkpoint cannot be read, does not fit, or cannot be written."""


def refuse(what, mistakes):
    """Raises one `ConversionError` with every mistake, or returns if there is none."""
    if mistakes := list(mistakes):
        raise ConversionError(f"{what}:\n- " + "\n- ".join(mistakes))
