"""Ctrl-C and SIGTERM: the step is finished and saved before the run ends."""

import shlex
import signal
import sys
import threading


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; everything is saved.

    Attributes:
        signal: number of the signal.
        history: the `History` of the run so far.
    """

    def __init__(self, message, signum, history):
        super().__init__(message)
        self.signal = signum
        self.history = history


class Interruption:
    """While entered, the first Ctrl-C or SIGTERM only sets `signal`.

    A second Ctrl-C stops at once. Outside the main thread, where Python allows no
    handlers, it does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.signal = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._note) for s in self.SIGNALS}
        return self

    def __exit__(self, *error):
        self._restore()

    def _note(self, signum, frame):
        self.signal = signum
        self._restore()
        # Also in a process that was started in the background, where Ctrl-C is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _restore(self):
        for signum, handler in self._before.items():
            signal.signal(signum, handler)


def this_command():
    """Returns the command that started this process, as one would type it again."""
    return shlex.join(sys.orig_argv)
