"""A folder in Hugging Face's format, on disk or on its hub, and what to read of it."""

import json
import pathlib

from keras_switch.convert import safetensors_files, torch_files
from keras_switch.convert.errors import ConversionError

CONFIG = "config.json"
TOKENIZER = "spiece.model"
TOKENIZER_CONFIG = "tokenizer_config.json"
SCHEME = "hf://"


class Files:
    """Files by name: of a folder, or of a repository on the hub.

    Args:
        address: path of a folder, or `hf://organization/name`, with `@revision` if it
            is not the newest.
    """

    def __init__(self, address):
        self.address = str(address)

    def get(self, name: str) -> pathlib.Path | None:
        """Returns the path of a file, fetched if need be, or `None` if there is none.

        Raises:
            ConversionError: if the repository cannot be reached.
        """
        if not self.address.startswith(SCHEME):
            path = pathlib.Path(self.address) / name
            return path if path.is_file() else None
        return _fetched(self.address, name)

    def need(self, name: str, why: str) -> pathlib.Path:
        """Returns the path of a file that must be there."""
        path = self.get(name)
        if path is None:
            raise ConversionError(f"{self.address} has no {name}: {why}.")
        return path

    def json(self, name: str, why: str) -> dict:
        """Returns the contents of a JSON file that must be there."""
        path = self.need(name, why)
        try:
            values = json.loads(path.read_text())
        except ValueError as error:
            raise ConversionError(
                f"{path} is no JSON ({error}): get it anew."
            ) from error
        if not isinstance(values, dict):
            raise ConversionError(f"{path} holds no settings by name: get it anew.")
        return values


def _fetched(address, name):
    import huggingface_hub
    from huggingface_hub import errors

    repository, _, revision = address.removeprefix(SCHEME).partition("@")
    options = {"revision": revision} if revision else {}
    try:
        path = huggingface_hub.hf_hub_download(repository, name, **options)
    except (
        *(errors.EntryNotFoundError, errors.HfHubHTTPError),
        *(errors.HFValidationError, OSError),
    ) as error:
        if _is_missing(error, repository, name, options):
            return None
        raise ConversionError(
            f"{name} of {address} cannot be fetched ({error}): check the name, the "
            "network and, for a repository with a gate, your token; or give a folder."
        ) from error
    return pathlib.Path(path)


def _is_missing(error, repository, name, options):
    """Returns whether the hub has no such file, or had none when it was last asked."""
    import huggingface_hub
    from huggingface_hub import errors

    if not isinstance(error, errors.LocalEntryNotFoundError):
        return isinstance(error, errors.EntryNotFoundError)
    found = huggingface_hub.try_to_load_from_cache(repository, name, **options)
    return found is huggingface_hub._CACHED_NO_EXIST


def weights(files: Files):
    """Returns the tensors of a folder as a `Source`: safetensors before PyTorch's.

    Raises:
        ConversionError: if there are none, or a shard is missing.
    """
    kinds = (
        (safetensors_files, safetensors_files.SafetensorsFiles),
        (torch_files, torch_files.TorchFiles),
    )
    for names, source in kinds:
        index = files.get(names.INDEX)
        if index is not None:
            shards, listed = safetensors_files.shards(index)
            why = f"{names.INDEX} lists it; a shard is missing"
            paths = [files.need(shard, why) for shard in shards]
            found = source(paths, files.address)
            safetensors_files.check_index(listed, found)
            return found
        single = files.get(names.SINGLE)
        if single is not None:
            return source([single], files.address)
    raise ConversionError(
        f"{files.address} has neither {safetensors_files.SINGLE} nor "
        f"{torch_files.SINGLE}, nor an index of several such files."
    )
