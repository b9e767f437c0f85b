"""The command line: which command, which gin files, which single values."""

import argparse
import dataclasses

COMMANDS = {
    "train": "train a model; the same command goes on where a run stopped",
    "finetune": "train a model from a checkpoint: all of it, parts, or LoRA",
    "distill": "train a student on a teacher's probabilities",
    "eval": "evaluate a checkpoint of a run on a split",
    "cache": "prepare the examples of a task once, for many runs",
    "cache-logits": "ask a teacher about a task once, for many students",
    "plan": "tell memory, messages and time of a training step, without running it",
    "convert": "bring a published checkpoint in, or ours out",
    "upcycle": "make a sparse model of a dense checkpoint",
    "prune-experts": "keep or merge the experts that a data set uses",
    "export": "write a SavedModel for TF Serving: text in, text out",
    "infer": "answer every line of a file; the same command goes on",
    "serve": "try an exported model out by TF Serving's protocols",
    "demo": "train a sparse and a dense model on the same text and compare them",
}

EPILOG = """\
gin files are looked for here, in --gin_search_paths, and among the shipped ones
(models/, runs/, optimizers/, tasks/). Later files and values win. Values:

  --gin.TRAIN_STEPS=1000               a macro of the gin files
  --gin.Switch.balance_loss_weight=0.1 a parameter of anything by its gin name
  --gin.MODULES="['my_package.tasks']" modules to import, with SeqIO tasks in them

example:
  keras-switch train --gin_file=models/switch_tiny.gin --gin_file=runs/pretrain.gin \\
      --gin.TASK=pydocs_span_corruption --model_dir=runs/first
  ... --gin_file=layouts/data_8.gin, or --mesh_shape=data:4,model:2: on 8 devices
"""

# Flags that set macros: the same as --gin.NAME=... with the name in capitals.
MACROS = {
    "mesh_shape": "axes of the mesh, such as data:4,model:2",
    "layout_rules": "dimensions over axes, such as batch:data,d_ff:model",
    "batch_size": "sequences of a step over all devices",
    "chip": "for plan: tpu_v4, h100, ...",
    "json": "for plan: file to write the plan to, - for the terminal alone",
    "source": "checkpoint to read: hf://organization/name, or a folder",
    "teacher": "who teaches: folder of a run, a checkpoint, a SavedModel or a cache",
    "target": "new folder to write",
    "target_format": "for convert: preset, hugging_face or t5x",
    "gin_config": "for convert: config of the run that the checkpoint is of",
    "vocabulary": "for convert: SentencePiece model of the checkpoint",
    "output": "for export: new folder, NAME/VERSION; for infer: JSON lines to write",
    "inputs": "for infer: file with a text a line",
    "model": "for serve: folder of an exported model, NAME or NAME/VERSION",
    "name": "for serve: what clients call the model; by itself NAME",
    "host": "for serve: address to listen on; by itself 127.0.0.1",
    "rest_port": "for serve: by itself 8501; 0: any that is free",
    "grpc_port": "for serve: by itself 8500; 0: any that is free",
    "max_batch_size": "for export and serve: inputs of a request, at most",
    "batch_window_ms": "for serve: how long a request waits for others to join it",
    "num_experts": "for upcycle and prune-experts: experts of a layer afterwards",
}


@dataclasses.dataclass(frozen=True)
class Flags:
    """A parsed command line.

    Args:
        command: one of `COMMANDS`.
        gin_files: names of gin files, in order.
        bindings: gin statements, in order.
        search_paths: folders of gin files.
        model_dir: folder of the run, or `None` if the gin files say it.
        dry_run: print the configuration and stop.
        debug: show tracebacks of errors in the configuration and the input too.
    """

    command: str
    gin_files: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()
    search_paths: tuple[str, ...] = ()
    model_dir: str | None = None
    dry_run: bool = False
    debug: bool = False


def parse(arguments: list[str]) -> Flags:
    """Returns the parsed command line; ends the process with code 2 if it is wrong."""
    parser = _parser()
    bound = [a for a in arguments if a.startswith("--gin.")]
    for argument in bound:
        if "=" not in argument:
            parser.error(f"{argument} has no value: write {argument}=VALUE")
    rest = parser.parse_args([a for a in arguments if not a.startswith("--gin.")])
    return Flags(
        command=rest.command,
        gin_files=tuple(rest.gin_file),
        bindings=(
            *rest.gin_bindings,
            *(a.removeprefix("--gin.") for a in bound),
            *_macros(rest),
        ),
        search_paths=tuple(filter(None, rest.gin_search_paths.split(","))),
        model_dir=rest.model_dir,
        dry_run=rest.dry_run,
        debug=rest.debug,
    )


def _macros(rest):
    """Yields the macros that flags set, as gin statements."""
    for name in MACROS:
        value = getattr(rest, name)
        if value is not None:
            yield f"{name.upper()} = {value if value.isdecimal() else repr(value)}"


def _parser():
    commands = "\n".join(f"  {name:13} {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "keras-switch",
        description=f"Switch Transformers, configured by gin files.\n\n{commands}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("command", choices=COMMANDS, metavar="|".join(COMMANDS))
    add("--gin_file", action="append", default=[], help="a gin file; repeatable")
    add(
        "--gin_bindings", action="append", default=[], help="the same as --gin.NAME=..."
    )
    add("--gin_search_paths", default="", help="folders of gin files, with commas")
    add("--model_dir", help="folder of the run; the same as --gin.MODEL_DIR=...")
    for name, text in MACROS.items():
        add(f"--{name}", help=f"{text}; the same as --gin.{name.upper()}=...")
    add("--dry_run", action="store_true", help="print the configuration and stop")
    add("--debug", action="store_true", help="show tracebacks of all errors")
    return parser
