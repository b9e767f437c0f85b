"""Entry point of `keras-switch` and `python -m keras_switch`."""

import os
import pathlib
import sys
import traceback

from keras_switch.cli import command
from keras_switch.cli import flags as command_line
from keras_switch.cli.errors import ConfigError
from keras_switch.partitioning.clients import ProcessLost
from keras_switch.training import Diverged, Interrupted

LOST = 75  # what sysexits.h calls a failure that passes
PACKAGE = pathlib.Path(__file__).parent.parent


def main(arguments=None) -> int:
    """Runs one command; returns the exit code of the process.

    Args:
        arguments: words of the command line; by default those of this process.

    Returns:
        0; 2 if the configuration or the input is wrong, 1 if the run diverged, both
        after one message; 130 if the user stopped it. A run that loses one of its
        processes ends with 75: the same command, in all processes, goes on.
    """
    flags = command_line.parse(sys.argv[1:] if arguments is None else arguments)
    try:
        command.run(flags)
    except (ValueError, OSError, ImportError, Diverged) as error:
        if flags.debug or not _explains_itself(error):
            raise
        print(f"\nkeras-switch {flags.command}: {error}", file=sys.stderr)
        return 1 if isinstance(error, Diverged) else 2
    except ProcessLost as lost:
        print(f"\nkeras-switch {flags.command}: {lost}", file=sys.stderr, flush=True)
        os._exit(LOST)  # the usual end would wait for the lost process
    except KeyboardInterrupt as stop:
        if not isinstance(stop, Interrupted):  # which has said how to go on
            print("\nStopped before the first step.", file=sys.stderr)
        return 130
    return 0


def _explains_itself(error) -> bool:
    """Returns whether the message is meant for a user: ours, or a file's or disk's."""
    if isinstance(error, (ConfigError, OSError, Diverged)):
        return True
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return PACKAGE in pathlib.Path(last).parents


if __name__ == "__main__":
    sys.exit(main())
