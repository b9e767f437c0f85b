"""Speed and memory of this library beside others, in one process and as ratios.

Run from a checkout: `python -m benchmarks.layer`, or all of them by `make bench`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
