"""Where data sets that are not shipped lie on this machine."""

import os
import pathlib

VARIABLE = "KERAS_SWITCH_DATA"


def data_file(*parts: str) -> pathlib.Path:
    """Returns the path of a file in the folder that `$KERAS_SWITCH_DATA` names.

    Raises:
        FileNotFoundError: if the variable is not set or the file is not there; says
            which file is needed where.
    """
    name = pathlib.Path(*parts)
    root = os.environ.get(VARIABLE)
    if not root:
        raise FileNotFoundError(
            f"The file {name} is needed, but no data folder is named. Set the "
            f"environment variable {VARIABLE} to the folder that holds {name}."
        )
    path = pathlib.Path(root).expanduser() / name
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path}. The environment variable {VARIABLE} names the "
            f"folder {root!r}: put {name} into it, or name the folder that holds it."
        )
    return path
