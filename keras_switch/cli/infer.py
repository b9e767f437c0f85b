"""`keras-switch infer`."""

import itertools
import json
import pathlib
import signal
import sys
from collections.abc import Sequence

import keras
from keras_hub.samplers import Sampler

from keras_switch.cli.trained import TrainedConfig
from keras_switch.convert import Progress
from keras_switch.export.options import INPUT_LENGTHS, mistakes_in
from keras_switch.models import SwitchSeq2SeqLM
from keras_switch.training import Interrupted

_GO_ON = "Stopped; the same command goes on behind the last answer that is written."


def infer(
    model: TrainedConfig,
    inputs: str,
    output: str,
    sampler: str | Sampler = "greedy",
    num_samples: int = 1,
    input_lengths: Sequence[int] = INPUT_LENGTHS,
    max_length: int = 64,
    batch_size: int = 8,
):
    """Answers every line of a file; the same command goes on where it stopped.

    A line of the output is a JSON object with `input`, `output` and `score`; of several
    samples these are lists. An empty input is a question, too.

    Args:
        model: who answers.
        inputs: file of one text a line, UTF-8.
        output: JSON lines, in the order of the inputs. Lines that are there already are
            kept, and must answer the first inputs.
        sampler: `"greedy"`, another of KerasHub's that draws tokens, or
            `models.BeamSearch`.
        num_samples: answers for each input.
        input_lengths: of an encoder: inputs are padded to the first that holds the
            longest at once, in tokens, and cut at the last.
        max_length: tokens of the decoder, at most.
        batch_size: inputs at once.

    Returns:
        The number of inputs that were answered now.

    Raises:
        ValueError: if there is no such file or model, the model has no vocabulary, the
            output answers other inputs, or the lengths do not ascend.
    """
    for mistake in mistakes_in(input_lengths):
        raise ValueError(mistake)
    questions = _lines(inputs)
    done = _done(output, questions)
    model = model.read()
    if model.preprocessor is None:
        raise ValueError(
            "The model has no vocabulary, so it cannot read text: give "
            "--gin.TASK='name', the task that it was trained on, or a --source with "
            "a tokenizer."
        )
    keras.utils.set_random_seed(0)
    if done:
        print(f"{done:,} of {len(questions):,} are there already", file=sys.stderr)
    progress = Progress(len(questions) - done, f"Answering {inputs}:", unit="inputs")
    cut = 0
    try:
        with open(output, "a", encoding="utf-8") as file:
            for start in range(done, len(questions), batch_size):
                batch = questions[start : start + batch_size]
                # Always as many rows, so that few graphs are traced.
                rows = [*batch, *[""] * (batch_size - len(batch))]
                cut += _fit(model, rows, input_lengths)
                answers, scores = model.generate(
                    rows,
                    max_length,
                    sampler=sampler,
                    num_samples=num_samples,
                    return_scores=True,
                )
                _write(file, zip(batch, answers, scores.tolist(), strict=False))
                progress(len(batch))
    except KeyboardInterrupt as stop:
        print(f"\n{_GO_ON}", file=sys.stderr)
        raise Interrupted(_GO_ON, signal.SIGINT, None) from stop
    if cut:
        print(f"{cut:,} inputs were cut at {input_lengths[-1]} tokens", file=sys.stderr)
    return len(questions) - done


def _fit(model, texts, input_lengths):
    """Makes an encoder's inputs as long as these need; returns how many are cut."""
    if not isinstance(model, SwitchSeq2SeqLM):
        return 0
    preprocessor, longest = model.preprocessor, input_lengths[-1]
    lengths = [len(ids) + 1 for ids in preprocessor.tokenizer(texts)]  # and the end
    holds = (length for length in input_lengths if length >= max(lengths))
    preprocessor.encoder_sequence_length = next(holds, longest)
    return sum(length > longest for length in lengths)


def _write(file, lines):
    """Writes triples of input, output and score as JSON lines, at once."""
    for line in lines:
        values = dict(zip(("input", "output", "score"), line, strict=True))
        file.write(json.dumps(values, ensure_ascii=False) + "\n")
    file.flush()


def _lines(inputs):
    file = pathlib.Path(inputs)
    if not file.is_file():
        raise ValueError(f"There is no file {inputs!r}: give one with a text a line.")
    # Not splitlines: a text may hold other separators than the newline.
    lines = file.read_text(encoding="utf-8").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _done(output, questions):
    """Returns how many inputs the output answers; cuts off a line without an end."""
    file = pathlib.Path(output)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        return 0
    text = file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        file.write_bytes(whole)
    lines = whole.decode("utf-8").split("\n")[:-1]
    for number, (line, question) in enumerate(itertools.zip_longest(lines, questions)):
        if line is None:
            break
        if question is None or _question(line) != question:
            raise ValueError(
                f"Line {number + 1} of {output!r} does not answer line {number + 1} of "
                "the inputs: give another output, or remove it."
            )
    return len(lines)


def _question(line):
    try:
        return json.loads(line)["input"]
    except (ValueError, KeyError, TypeError):
        return None
