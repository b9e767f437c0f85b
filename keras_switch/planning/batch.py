"""What one training step sees: sequences and their lengths."""

import dataclasses

from keras_switch.models.config import DECODER_ONLY, ENCODER_ONLY, ModelConfig

# T5's 512 and 114 (arXiv:1910.10683, section 3.1.4); PaLM's 2,048.
_USUAL = {"inputs": 512, "targets": 114}
_USUAL_TARGETS_ALONE = 2048


@dataclasses.dataclass(frozen=True)
class Batch:
    """The batch of one step over all devices.

    Args:
        size: sequences.
        lengths: tokens of a sequence by feature, `{"inputs": 512, "targets": 114}`, as
            in `DataConfig`; an encoder reads inputs, a decoder targets. `None`: T5's
            512 and 114, and 2,048 targets of a model without an encoder.

    Raises:
        ValueError: if a size or a length is not positive.
    """

    size: int
    lengths: dict[str, int] | None = None

    def __post_init__(self):
        sizes = {"size": self.size, **(self.lengths or {})}
        wrong = {k: v for k, v in sizes.items() if type(v) is not int or v < 1}
        if wrong:
            given = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
            raise ValueError(f"Batch got {given}: give whole numbers above 0.")

    def of(self, config: ModelConfig) -> "Batch":
        """Returns the same batch with exactly the lengths that a model needs.

        Raises:
            ValueError: if one of them is missing.
        """
        given = self.lengths
        if given is None:
            alone = config.architecture == DECODER_ONLY
            given = {**_USUAL, "targets": _USUAL_TARGETS_ALONE} if alone else _USUAL
        wanted = ["inputs"] * (config.architecture != DECODER_ONLY)
        wanted += ["targets"] * (config.architecture != ENCODER_ONLY)
        missing = [name for name in wanted if name not in given]
        if missing:
            raise ValueError(
                f"Batch has lengths {given}, but {config.architecture} models need "
                f"{' and '.join(wanted)}: add {', '.join(missing)}."
            )
        return Batch(self.size, {name: given[name] for name in wanted})

    def length(self, stack: str) -> int:
        """Returns the tokens of a sequence in `"encoder"` or `"decoder"`."""
        return self.lengths["inputs" if stack == "encoder" else "targets"]

    @property
    def tokens(self) -> int:
        """Tokens of all sequences, inputs and targets."""
        return self.size * sum(self.lengths.values())
