"""What `import pseudocron` adds to a process that has imported starlette."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from statistics import median

from benchmarks.measuring import Row, show, spread

ROUNDS = 25
GOAL_TIME, GOAL_MEMORY = 30.0, 3.0
"""Milliseconds, MB."""

IMPORT = """
import starlette.applications
from time import perf_counter

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

before, began = resident(), perf_counter()
import {module}
print((perf_counter() - began) * 1e3, (resident() - before) / 1e3)
"""


def _import(module: str, cache: str) -> tuple[float, float]:
    """Milliseconds and MB; the bytecode is there, as it is wherever a package is installed."""
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    code = IMPORT.format(module=module)
    output = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True)
    milliseconds, megabytes = output.stdout.split()
    return float(milliseconds), float(megabytes)


def measure() -> list[Row]:
    """The rows of this benchmark; a module that starlette has long imported shows what measuring costs."""
    with tempfile.TemporaryDirectory() as cache:
        _import("pseudocron", cache)
        pairs = [(_import("pseudocron", cache), _import("starlette", cache)) for _ in range(ROUNDS)]
    times = [ours[0] - nothing[0] for ours, nothing in pairs]
    sizes = [ours[1] - nothing[1] for ours, nothing in pairs]
    return [
        Row(
            what="time that `import pseudocron` adds to starlette",
            goal=f"{GOAL_TIME:.0f} ms",
            measured=spread(times, " ms", 1),
            met=median(times) <= GOAL_TIME,
        ),
        Row(
            what="memory that `import pseudocron` adds to starlette",
            goal=f"{GOAL_MEMORY:.0f} MB",
            measured=spread(sizes, " MB"),
            met=median(sizes) <= GOAL_MEMORY,
        ),
    ]


if __name__ == "__main__":
    show(measure())
