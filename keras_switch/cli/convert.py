"""`keras-switch convert`, `upcycle` and `prune-experts`."""

from keras_switch import convert as conversions
from keras_switch import data as pipelines
from keras_switch import training
from keras_switch.cli.table import table
from keras_switch.convert import conversion, pruning
from keras_switch.data import DataConfig
from keras_switch.models import Sparse
from keras_switch.training import experts


def convert(
    source: str,
    target: str,
    target_format: str = conversion.PRESET,
    gin_config: str | None = None,
    vocabulary: str | None = None,
    num_sentinels: int = 100,
    dtype: str = "float32",
):
    """Brings a checkpoint into another format; nothing is at `target` after an error.

    Args:
        source: `hf://organization/name`; or a folder: of Hugging Face, of T5X, of Mesh
            TensorFlow, or one that `save_to_preset` wrote.
        target: a new folder.
        target_format: `"preset"` (KerasHub's), `"hugging_face"` or `"t5x"`.
        gin_config: config of a run of T5X or Mesh TensorFlow, if it is not beside the
            checkpoint.
        vocabulary: SentencePiece model of such a run.
        num_sentinels: sentinels that its vocabulary has behind the model's pieces.
        dtype: dtype policy of a preset.

    Returns:
        The `convert.Imported`.

    Raises:
        ValueError: if the source does not fit or the target cannot be written.
    """
    conversion.check_target(target, target_format)
    found = conversions.read(
        source,
        dtype,
        conversions.Progress,
        gin_config,
        vocabulary and conversions.Vocabulary(vocabulary, num_sentinels),
    )
    notes = conversions.write(found.model, target, target_format, conversions.Progress)
    print(f"\n{found.report or f'weights of {source}'}")
    print(f"written to {target} ({target_format})")
    for note in (*found.notes, *notes):
        print(f"note: {note}")
    if found.report is not None:
        print(f"\n{conversions.demonstration(found.model)}")
    return found


def upcycle(source: str, target: str, sparse: Sparse, dtype: str = "float32"):
    """Makes a sparse preset of a dense checkpoint: experts are copies of its MLPs.

    Args:
        source: see `convert`.
        target: a new folder.
        sparse: the sparse layers.
        dtype: dtype policy of the preset.

    Returns:
        The new model.

    Raises:
        ValueError: if the source is sparse, or the target cannot be written.
    """
    conversion.check_target(target, conversion.PRESET)
    dense = conversions.read(source, dtype, conversions.Progress).model
    model = conversions.upcycle(dense, sparse)
    conversions.write(model, target)
    sizes = [
        ("parameters before", f"{dense.count_params():,}"),
        ("parameters after", f"{model.count_params():,}"),
    ]
    print(f"\n{table(sizes)}\nwritten to {target} (preset)")
    return model


def prune_experts(
    source: str,
    target: str,
    data: DataConfig,
    num_experts: int,
    method: pruning.Method,
    steps: int | None = None,
    dtype: str = "float32",
):
    """Keeps or merges the experts that a data set uses, and tells what that costs.

    Args:
        source: see `convert`.
        target: a new folder.
        data: what the experts are watched on, and the loss is measured on.
        num_experts: experts of a layer afterwards.
        method: `KeepUsed()` or `MergeSimilar()`.
        steps: most batches to take.
        dtype: dtype policy of the preset.

    Returns:
        Loss per token before and after, and the share of tokens whose expert stays.

    Raises:
        ValueError: if there are not as many experts, or the target cannot be written.
    """
    conversion.check_target(target, conversion.PRESET)
    model = conversions.read(source, dtype, conversions.Progress).model
    batches = pipelines.batches(data, model.backbone.config)
    experts.reset_experts(model)
    before = training.evaluate(model, batches, steps)
    use = experts.expert_use(model)
    load = {name: layer["load"] for name, layer in use.items()}
    pruned = conversions.prune_experts(model, load, num_experts, method)
    after = training.evaluate(pruned, batches, steps)
    conversions.write(pruned, target)
    found = {
        "loss_before": before["loss"],
        "loss_after": after["loss"],
        "kept_share": pruning.kept_share(load, num_experts),
    }
    print(f"\n{_report(found, model, pruned, target)}")
    return found


def _report(found, model, pruned, target):
    rows = [
        ("loss before", f"{found['loss_before']:.4f}"),
        ("loss after", f"{found['loss_after']:.4f}"),
        ("tokens whose expert stays", f"{found['kept_share']:.1%}"),
        ("parameters before", f"{model.count_params():,}"),
        ("parameters after", f"{pruned.count_params():,}"),
    ]
    return f"{table(rows)}\nwritten to {target} (preset)"
