"""`keras-switch infer`."""

import itertools
import json
import pathlib
import signal
import sys

import keras
from keras_hub.samplers import Sampler

from keras_switch.cli.trained import trained
from keras_switch.convert import Progress
from keras_switch.data.task_spec import TaskSpec
from keras_switch.training import Interrupted

_GO_ON = "Stopped; the same command goes on behind the last answer that is written."


def infer(
    inputs: str,
    output: str,
    source: str | None = None,
    model_dir: str | None = None,
    checkpoint: str | int = "newest",
    task: str | TaskSpec | None = None,
    dtype: str = "float32",
    sampler: str | Sampler = "greedy",
    num_samples: int = 1,
    max_length: int = 64,
    batch_size: int = 8,
):
    """Answers every line of a file; the same command goes on where it stopped.

    A line of the output is a JSON object with `input`, `output` and `score`; of several
    samples these are lists. An empty input is a question, too.

    Args:
        inputs: file of one text a line, UTF-8.
        output: JSON lines, in the order of the inputs. Lines that are there already are
            kept, and must answer the first inputs.
        source: `hf://organization/name`, or a folder; see `convert`.
        model_dir: folder of a run, in place of `source`.
        checkpoint: of the run: `"newest"`, `"best"` or a step.
        task: SeqIO task whose vocabulary the run has.
        dtype: dtype policy.
        sampler: `"greedy"`, another of KerasHub's that draws tokens, or
            `models.BeamSearch`.
        num_samples: answers for each input.
        max_length: tokens of the decoder, at most.
        batch_size: inputs at once.

    Returns:
        The number of inputs that were answered now.

    Raises:
        ValueError: if there is no such file or model, the model has no vocabulary, or
            the output answers other inputs.
    """
    questions = _lines(inputs)
    done = _done(output, questions)
    model = trained(source, model_dir, checkpoint, task, dtype)
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
    try:
        with open(output, "a", encoding="utf-8") as file:
            for start in range(done, len(questions), batch_size):
                batch = questions[start : start + batch_size]
                # Always as many rows, so that a graph is traced once.
                rows = [*batch, *[""] * (batch_size - len(batch))]
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
    return len(questions) - done


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
