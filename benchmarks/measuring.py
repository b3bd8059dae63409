"""What all benchmarks share: arms measured side by side, medians with their spread, and the rows of the table."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

from harness.machine import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Args:
        what: What was measured.
        goal: What it should be, in words.
        measured: What it was, with its spread.
        met: Whether that is the goal; None where there is none.
    """

    what: str
    goal: str
    measured: str
    met: bool | None

    def __str__(self) -> str:
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.what} | {self.goal} | {self.measured} | {met} |"


BEFORE = machine()
HEAD = "| what | goal | measured | met |\n| --- | --- | --- | --- |"


def side_by_side(arms: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Each arm's figures, one a round; the arms take turns, and every other round goes backwards."""
    figures: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        turns = list(arms) if number % 2 else list(arms)[::-1]
        for name in turns:
            figures[name].append(arms[name]())
    return figures


def ratios(figures: Sequence[float], base: Sequence[float]) -> list[float]:
    """Of each round's pair one ratio."""
    return [one / other for one, other in zip(figures, base, strict=True)]


def spread(values: Sequence[float], unit: str = "", digits: int = 2) -> str:
    """Return the median, and the two figures between which the middle half lies."""
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"


def p99(values: Sequence[float]) -> float:
    """Return the value that 99 of 100 values stay below."""
    return quantiles(values, n=100, method="inclusive")[98]


def show(rows: Sequence[Row]) -> None:
    """Print rows as a table, under the machine and its load before they were measured."""
    print(f"{BEFORE} before\n\n{HEAD}", *rows, sep="\n")
