"""Files beside a SavedModel that say how to serve it."""

import json

SERVER = """\
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""
BATCHING = """\
max_batch_size {{ value: {most} }}
batch_timeout_micros {{ value: 2000 }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: 2 }}
pad_variable_length_inputs: true
"""
READ_ME = """\
# {name}, version {version}

```
{command}
curl -d '{{"instances": {instances}}}' http://localhost:8501/v1/models/{name}:predict
```

The first line is typed where this folder is `{name}/{version}`. Signatures:
{signatures}. Inputs are padded to {lengths} tokens, answers have at most {most_new}.
The model takes any number of inputs at once; `batching.config` lets the server join
requests up to {most_rows}. Joined requests get the answers that they would get alone.
"""


def write(extra, folder, options, signatures):
    """Writes `models.config`, `batching.config`, `limits.json` and `README.md`.

    Args:
        extra: folder to write into.
        folder: that the version will have.
        options: `Serving`.
        signatures: functions by name.
    """
    name = folder.parent.name
    (extra / "models.config").write_text(SERVER.format(name=name))
    batching = BATCHING.format(most=options.max_batch_size)
    (extra / "batching.config").write_text(batching)
    limits = {
        "input_lengths": list(options.input_lengths),
        "max_new_tokens": options.max_new_tokens,
        "max_batch_size": options.max_batch_size,
    }
    (extra / "limits.json").write_text(json.dumps(limits) + "\n")
    text = READ_ME.format(
        name=name,
        version=folder.name,
        command=command(folder),
        instances='["some text"]' if "score_text" in signatures else "[[3, 4, 1]]",
        signatures=", ".join(f"`{name}`" for name in sorted(signatures)),
        lengths=", ".join(map(str, options.input_lengths)),
        most_new=options.max_new_tokens,
        most_rows=options.max_batch_size,
    )
    (extra / "README.md").write_text(text)


def command(folder) -> str:
    """Returns the line that serves a version by Docker."""
    name = folder.parent.name
    extra = f"/models/{name}/{folder.name}/assets.extra"
    return (
        "docker run --rm -p 8500:8500 -p 8501:8501 "
        f'-v "$PWD/{name}:/models/{name}" tensorflow/serving '
        f"--model_config_file={extra}/models.config --enable_batching=true "
        f"--batching_parameters_file={extra}/batching.config"
    )
