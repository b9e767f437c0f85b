"""Settings of a foreign config, each taken once; what nobody takes is told."""

from keras_switch.convert.errors import refuse
from keras_switch.partitioning.mistakes import nearest

_MISSING = object()


class Keys:
    """A dictionary that knows which of its keys were understood.

    Args:
        values: the settings.
        source: where they stand, for messages.
    """

    def __init__(self, values: dict, source: str):
        self._values, self.source = values, source
        self._taken, self.mistakes = set(), []

    def __contains__(self, key):
        return key in self._values

    def take(self, key, default=_MISSING, kind=None):
        """Returns a setting.

        Args:
            key: its name.
            default: what it is when it is missing; without one that is a mistake.
            kind: class or classes that it must be of.

        Returns:
            The value; `None` after a mistake.
        """
        self._taken.add(key)
        value = self._values.get(key, default)
        if value is _MISSING:
            self.mistakes.append(f"{key}: missing")
            return None
        wrong = kind is bool and not isinstance(value, bool)
        wrong |= kind not in (None, bool) and isinstance(value, bool)
        if kind is not None and (wrong or not isinstance(value, kind)):
            self.mistakes.append(f"{key}={value!r}: not understood")
            return None
        return value

    def must_be(self, key, *allowed, why):
        """Takes a setting that has no counterpart here but for some values.

        Args:
            key: its name; it may be missing.
            *allowed: its good values.
            why: what another value would mean.
        """
        value = self.take(key, allowed[0])
        if value not in allowed:
            self.mistakes.append(f"{key}={value!r}: {why}")

    def skip(self, *keys):
        """Takes settings that change nothing here."""
        self._taken.update(keys)

    def finish(self, known=()):
        """Raises one error with every mistake and every setting that nobody took.

        Args:
            known: further names, to be suggested for unknown ones.
        """
        unknown = [key for key in self._values if key not in self._taken]
        names = (*self._taken, *known)
        self.mistakes += [
            f"{key}={self._values[key]!r}: unknown; nearest known is "
            f"{nearest(key, names)}"
            for key in unknown
        ]
        refuse(f"{self.source} cannot be translated", self.mistakes)
