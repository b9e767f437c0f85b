"""`keras-switch demo`: a sparse and a dense model learn from the same batches."""

import time
from collections.abc import Callable

import keras

from keras_switch.cli import demo_plot, demo_report
from keras_switch.cli.run_config import EvaluationConfig, RunConfig
from keras_switch.cli.train import train
from keras_switch.data import DataConfig, corpus, registry
from keras_switch.models import ModelConfig
from keras_switch.training import config_file
from keras_switch.training.paths import path_of

DENSE, SPARSE = "t5_tiny", "switch_tiny"


def demo(
    dense: ModelConfig,
    sparse: ModelConfig,
    optimizer: Callable,
    loss: keras.losses.Loss,
    data: DataConfig,
    eval_data: DataConfig,
    run: RunConfig,
    model_dir: str,
    save_config=None,
):
    """Trains both models on the embedded corpus and compares them at equal steps.

    Everything but the sparse layers is the same in both: batches, optimizer, schedule,
    seed. A token meets as many weights in both.

    Args:
        dense: the one without experts.
        sparse: the one with experts.
        optimizer: function that makes an optimizer, called once for each model.
        loss: what is minimized.
        data: batches to train on.
        eval_data: held-out batches.
        run: steps, and how often to evaluate, to save and to log.
        model_dir: folder for both runs, `results.json` and the picture.
        save_config: function of the folder that writes the configuration there.

    Returns:
        What `results.json` holds.
    """
    began = time.monotonic()
    folder = path_of(model_dir)
    configs = {DENSE: dense, SPARSE: sparse}
    for name, config in configs.items():
        config_file.check(folder / name, config)
    if save_config is not None:
        save_config(folder)
    _say("1/4  Text and vocabulary")
    _prepare(data)
    histories = {}
    for number, (name, config) in enumerate(configs.items(), 2):
        _say(f"{number}/4  {name}: {run.steps} steps of {data.batch_size} sequences")
        histories[name] = train(
            config,
            optimizer(),
            loss,
            data,
            run,
            str(folder / name),
            EvaluationConfig(eval_data),
        )
    _say("4/4  Result")
    results = demo_report.results(configs, histories, data)
    print(demo_report.text(results))
    written = demo_report.write(results, folder)
    written += demo_plot.draw(results, folder)
    minutes = (time.monotonic() - began) / 60
    print(f"\nWritten: {', '.join(map(str, written))}  ({minutes:.1f} min)")
    return results


def _prepare(data):
    """Reads the corpus and trains the vocabulary, unless both are cached."""
    began = time.monotonic()
    documents = corpus.documents("train")
    words = sum(document.count(" ") + 1 for document in documents)
    features = registry.find(data.task, data.vocabulary).output_features
    size = features["targets"].vocabulary.vocab_size
    print(
        f"{len(documents):,} documents, {words:,} words of Python documentation; "
        f"{size:,} pieces ({time.monotonic() - began:.0f} s)"
    )


def _say(heading):
    print(f"\n{heading}", flush=True)
