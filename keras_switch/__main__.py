"""Makes `python -m keras_switch` the same as `keras-switch`."""

import sys

from keras_switch.cli.__main__ import main

sys.exit(main())
