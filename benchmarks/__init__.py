"""Speed and memory of this library beside others, in one process and as ratios.

Run from a checkout: `python -m benchmarks.layer`, or all of them by `make bench`.
"""
