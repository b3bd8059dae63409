"""What importing pseudocron costs, in CPU time, beside importing Starlette in the same process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measuring import Row, show, side_by_side, spread

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 25
GOAL = 0.25

TIMED = """
from time import process_time

began = process_time()
import starlette.applications
between = process_time()
{code}
print(between - began, process_time() - between)
"""

FIRST = "import pseudocron"
USED = "from pseudocron import Crons, PseudoCronMiddleware"
BUILT = f"{USED}; PseudoCronMiddleware(lambda scope, receive, send: None, crons={{}})"
WHAT = {
    FIRST: (f"CPU of `{FIRST}`", GOAL),
    USED: (f"CPU of `{USED}`", GOAL),
    BUILT: ("CPU of the same, and of building the middleware, which imports the worker", None),
}


def _ratio(code: str, cache: str) -> Callable[[], float]:
    """CPU time of some code as a part of that of `import starlette.applications` before it."""
    # The bytecode is there, as it is wherever a package is installed.
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", TIMED.format(code=code)]

    def arm() -> float:
        done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
        starlette, ours = map(float, done.stdout.split())
        return ours / starlette

    return arm


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    with tempfile.TemporaryDirectory() as cache:
        arms = {code: _ratio(code, cache) for code in WHAT}
        for arm in arms.values():
            arm()  # writes the bytecode
        figures = side_by_side(arms, rounds=ROUNDS)
    return [_row(*WHAT[code], ratios) for code, ratios in figures.items()]


def _row(what: str, goal: float | None, ratios: list[float]) -> Row:
    return Row(
        what=f"{what}, as a part of `import starlette.applications`",
        goal="none" if goal is None else str(goal),
        measured=spread(ratios, digits=3),
        met=None if goal is None else median(ratios) <= goal,
    )


if __name__ == "__main__":
    show(measure())
