"""Runs every benchmark, each in a process of its own."""

import subprocess
import sys

for name in ("imports", "layer", "step", "decoding", "mesh"):
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
