"""Presets in formats of other libraries: rooms above this one bring the readers."""

from collections.abc import Callable

_READERS: list[Callable] = []


def add_reader(reader: Callable):
    """Makes `from_preset` read one more format.

    Args:
        reader: function of an address, a dtype policy and whether to load weights. It
            returns a `SwitchBackbone` and a preprocessor or `None`; or `None` in place
            of both, if the address is in another format.
    """
    if reader not in _READERS:
        _READERS.append(reader)


def read(address: str, dtype, load_weights: bool):
    """Returns what the first reader that knows the format makes of it, or `None`."""
    for reader in _READERS:
        found = reader(address, dtype, load_weights)
        if found is not None:
            return found
    return None
