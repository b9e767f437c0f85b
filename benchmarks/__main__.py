"""Runs every benchmark, each in a process of its own."""

import subprocess
import sys

for name in ("imports", "layer", "step", "mesh"):
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
