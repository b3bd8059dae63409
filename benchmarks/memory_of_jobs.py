"""How much memory a serving process has used while a million jobs are pending, against a thousand."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.contest import OURS, copied
from benchmarks.measuring import Row, show, side_by_side, spread
from benchmarks.pending import HAVE_COME_DUE, MILLION, Pending, full

if TYPE_CHECKING:
    from collections.abc import Callable

FEW = 1000
RUNS = 500
"""How many of the jobs, all of which are due, are run before the memory is read."""
ROUNDS = 3
GOAL = 10.0
"""MB."""
SERVING = replace(OURS, verb="serve", number=RUNS)


def _megabytes(pending: Pending) -> Callable[[], float]:
    """Return the most resident memory of a process that serves such a store, and runs some of its jobs."""

    def arm() -> float:
        with copied(full(pending).parent) as folder:
            return float(SERVING.do("serve", folder)["megabytes"])

    return arm


def measure() -> list[Row]:
    """Measure, and return the row of this benchmark."""
    stores = {"few": replace(HAVE_COME_DUE, number=FEW), "many": HAVE_COME_DUE}
    figures = side_by_side({name: _megabytes(pending) for name, pending in stores.items()}, rounds=ROUNDS)
    few, many = figures["few"], figures["many"]
    over = [one - other for one, other in zip(many, few, strict=True)]
    return [
        Row(
            what=f"memory of a process that polls and runs while {MILLION:,} jobs are pending, over that with {FEW:,}",
            goal=f"at most {GOAL:.0f} MB",
            measured=f"{spread(over, ' MB', 1)}: {median(many):.1f} MB of {median(few):.1f} MB",
            met=median(over) <= GOAL,
        )
    ]


if __name__ == "__main__":
    show(measure())
