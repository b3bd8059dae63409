"""The pictures of runs, as SVG: pure functions from a history to text in which nothing is left to escape."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from html import escape
from math import sqrt
from typing import TYPE_CHECKING

from markupsafe import Markup

from pseudocron.report import duration, lateness, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pseudocron.report import HistoryLine

BAR, GAP, HEIGHT = 5, 2, 26
SHORTEST = 4
"""How high a bar is at least, so that a short run is seen; what was skipped is drawn as high."""


def outcome(line: HistoryLine) -> str:
    """Return the outcome of a run in a word, `running` if it has not ended."""
    return str(line.outcome or "running")


def timeline(runs: Sequence[HistoryLine], *, most: int = 20) -> Markup:
    """Draw one bar for each of the last runs and skips, the newest on the right.

    The colour of a bar shows the outcome, and its height the duration.

    Args:
        runs: The newest first, as a history is.
        most: How many.
    """
    shown = list(reversed(runs[:most]))
    longest = max((duration(run) or 0.0 for run in shown), default=0.0) or 1.0
    left = (BAR + GAP) * (most - len(shown))
    bars = [_bar(run, left + (BAR + GAP) * place, longest) for place, run in enumerate(shown)]
    width = (BAR + GAP) * most - GAP
    return _svg("timeline", width, HEIGHT, _summary(shown), bars)


def _bar(run: HistoryLine, x: int, longest: float) -> str:
    took = duration(run)
    height = SHORTEST if run.is_skip else HEIGHT if took is None else _height(took, longest)
    return (
        f'<rect class="{outcome(run)}" x="{x}" y="{HEIGHT - height:.1f}" width="{BAR}" height="{height:.1f}" rx="1">'
        f"<title>{escape(told(run))}</title></rect>"
    )


def _height(took: float, longest: float) -> float:
    # The root, so that a run ten times as short is still to be told from one a hundred times as short.
    return SHORTEST + (HEIGHT - SHORTEST) * sqrt(max(0.0, took) / longest)


def told(run: HistoryLine) -> str:
    """Describe a run in a few words."""
    took = duration(run)
    if run.is_skip:
        return f"skipped, {run.reason}, {run.slots} slot{'' if run.slots == 1 else 's'}"
    return outcome(run) if took is None else f"{outcome(run)} after {span(took)}"


def _summary(runs: Sequence[HistoryLine]) -> str:
    if not runs:
        return "No runs yet"
    counts = Counter(map(outcome, runs))
    longest = max((duration(run) or 0.0 for run in runs), default=0.0)
    return f"Last runs: {', '.join(f'{count} {what}' for what, count in counts.items())}; the longest {span(longest)}"


@dataclass(frozen=True, slots=True)
class Plot:
    """What a plot shows of each run.

    Args:
        title: Its name.
        of: The seconds; None where there are none.
    """

    title: str
    of: Callable[[HistoryLine], float | None]

    def draw(self, runs: Sequence[HistoryLine]) -> Markup:
        """Draw one point for each run that has such seconds, the newest on the right; `runs` has the newest first."""
        points = [(run, seconds) for run in reversed(runs) if (seconds := self.of(run)) is not None]
        if not points:
            return Markup('<p class="none">No run has ended yet.</p>')
        most = max(seconds for _, seconds in points) or 1.0
        label = f"{self.title} of the last {len(points)} runs, at most {span(most)}"
        return _svg("plot", WIDE, HIGH, label, [*_grid(most), *_line(points, most)])


DURATIONS = Plot("Duration", duration)
LATENESS = Plot("Lateness", lateness)

WIDE, HIGH = 420, 130
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 12, 12


def _grid(most: float) -> Iterator[str]:
    for share in (0.0, 0.5, 1.0):
        y = _y(share)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        label = span(most * share) if share else "0"
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _line(points: Sequence[tuple[HistoryLine, float]], most: float) -> Iterator[str]:
    step = (WIDE - LEFT - RIGHT - 8) / max(1, len(points) - 1)
    places = [(LEFT + 4 + step * place, _y(max(0.0, seconds) / most)) for place, (_, seconds) in enumerate(points)]
    yield f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
    for (x, y), (run, seconds) in zip(places, points, strict=True):
        title = escape(f"{outcome(run)}, {span(seconds)}")
        yield f'<circle class="{outcome(run)}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{title}</title></circle>'


def _y(share: float) -> float:
    return HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * share


def _svg(kind: str, width: int, height: int, label: str, parts: Sequence[str]) -> Markup:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    inside = "".join(parts)
    # Whatever is in the parts has been escaped, or is a number or a word of ours.
    return Markup(f'<svg class="{kind}" role="img" {size} aria-label="{escape(label)}">{inside}</svg>')  # noqa: S704
