"""What has to be flat, how flat, and whether it is: the beginning of a run against its end."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Sample = Mapping[str, Any]

WARM = 60.0
"""Seconds at the beginning that are not looked at."""
WINDOW = 600.0
"""Seconds at either end that are compared; less of a run that is too short for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Something that has to be flat.

    Args:
        name: What it is, with its unit.
        of: What it is in a sample.
        ratio: By which factor the end may be above the beginning.
        slack: By how much it may be above it in any case, in its unit.
        digits: How exactly it is told.
    """

    name: str
    of: Callable[[Sample], float]
    ratio: float
    slack: float = 0.0
    digits: int = 0


FIGURES = (
    Figure(name="memory of its own (USS), MiB", of=lambda one: one["uss"], ratio=1.05, digits=1),
    Figure(name="resident memory, MiB", of=lambda one: one["rss"], ratio=1.05, digits=1),
    Figure(name="objects that gc knows", of=lambda one: one["objects"], ratio=1.05),
    Figure(name="open descriptors", of=lambda one: one["descriptors"], ratio=1.0, slack=2),
    Figure(name="threads, the fewest in ten seconds", of=lambda one: one["threads"], ratio=1.0, slack=2),
    Figure(name="tasks, the fewest in ten seconds", of=lambda one: one["tasks"], ratio=1.0, slack=2),
    Figure(name="store on the disk, MiB", of=lambda one: one["store"], ratio=1.1, digits=2),
    Figure(name="jobs kept", of=lambda one: sum(one["jobs"].values()), ratio=1.1),
    Figure(name="jobs pending", of=lambda one: one["jobs"]["pending"], ratio=1.1, slack=20),
    Figure(name="latency of a page, p50, ms", of=lambda one: one["/ p50"], ratio=1.25, slack=0.5, digits=2),
    Figure(name="latency of a page, p99, ms", of=lambda one: one["/ p99"], ratio=1.25, slack=2, digits=1),
    Figure(name="latency of a `defer`, p99, ms", of=lambda one: one["/defer p99"], ratio=1.25, slack=2, digits=1),
    Figure(name="from a slot to its run, p99, s", of=lambda one: one["late p99"], ratio=1.25, slack=0.1, digits=2),
)

HEAD = "| figure | first | last | ratio | bound | flat |\n| --- | --- | --- | --- | --- | --- |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: medians of the samples in either window."""

    figure: Figure
    first: float
    last: float

    @property
    def flat(self) -> bool:
        """Whether the end is within the bound."""
        return self.last <= max(self.first * self.figure.ratio, self.first + self.figure.slack)

    def __str__(self) -> str:
        first, last = (f"{value:.{self.figure.digits}f}" for value in (self.first, self.last))
        ratio = f"{self.last / self.first:.2f}" if self.first else ""
        slack = f" or +{self.figure.slack:g}" if self.figure.slack else ""
        flat = "yes" if self.flat else "**no**"
        return f"| {self.figure.name} | {first} | {last} | {ratio} | {self.figure.ratio:.2f}{slack} | {flat} |"


def windows(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of the first ten minutes after the warm-up, and of the last ten."""
    end = samples[-1]["at"]
    length = min(WINDOW, (end - WARM) / 2)
    first = [one for one in samples if WARM < one["at"] <= WARM + length]
    return first, [one for one in samples if one["at"] > end - length]


def compare(samples: Sequence[Sample]) -> list[Row]:
    """Compare the windows, a row for each figure; `ValueError` if the run was too short to be judged."""
    first, last = windows(samples)
    if len(first) < 2:
        raise ValueError(f"a run of {samples[-1]['at']:.0f} s is too short: take {WARM + 40:.0f} s at least")
    return [
        Row(figure=figure, first=median(map(figure.of, first)), last=median(map(figure.of, last))) for figure in FIGURES
    ]
