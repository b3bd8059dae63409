"""The samples of a run as small multiples, an SVG that is legible on light and dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from verification.soak.figures import windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from verification.soak.figures import Sample

COLUMNS = 3
WIDTH, HEIGHT = 300, 150
"""Of a panel with all its margins, in pixels."""
LEFT, TOP, RIGHT, BOTTOM = 46, 34, 14, 24
STYLE = """
    svg { color: #1f2328; font: 11px system-ui, sans-serif; }
    @media (prefers-color-scheme: dark) { svg { color: #e6edf3; } }
    text { fill: currentColor; }
    .title { font-weight: 600; }
    .axis { stroke: currentColor; opacity: 0.35; }
    .compared { fill: currentColor; opacity: 0.08; }
    polyline { fill: none; stroke-width: 1.3; stroke-linejoin: round; }
    .of-0 { stroke: #2f81f7; fill: #2f81f7; } .of-1 { stroke: #db6d28; fill: #db6d28; }
    polyline.of-0, polyline.of-1 { fill: none; } text.of-0, text.of-1 { stroke: none; }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the pictures: its title with the unit, and its lines by name."""

    title: str
    lines: dict[str, Callable[[Sample], float]]


PANELS = (
    Panel("Memory, MiB", {"resident": lambda one: one["rss"], "of its own": lambda one: one["uss"]}),
    Panel("Objects that gc knows, thousands", {"": lambda one: one["objects"] / 1000}),
    Panel("Open descriptors", {"": lambda one: one["descriptors"]}),
    Panel("The fewest in ten seconds", {"tasks": lambda one: one["tasks"], "threads": lambda one: one["threads"]}),
    Panel("Store, MiB", {"on the disk": lambda one: one["store"], "of it the log": lambda one: one["log"]}),
    Panel(
        "Jobs",
        {"kept": lambda one: sum(one["jobs"].values()), "pending": lambda one: one["jobs"]["pending"]},
    ),
    Panel("Latency of a page, ms", {"p99": lambda one: one["/ p99"], "p50": lambda one: one["/ p50"]}),
    Panel("From a slot to its run, s", {"p99": lambda one: one["late p99"], "p50": lambda one: one["late p50"]}),
    Panel("Load of the whole machine", {"": lambda one: one["load"]}),
)


def plot(samples: Sequence[Sample]) -> str:
    """Return the SVG. The two ends, which are compared, are shaded."""
    rows = -(-len(PANELS) // COLUMNS)
    width, height = COLUMNS * WIDTH, rows * HEIGHT
    panels = (_panel(panel, samples, place) for place, panel in enumerate(PANELS))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    title = f"<title>A soak of {samples[-1]['at'] / 60:.0f} minutes</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *panels, "</svg>", ""])


def _panel(panel: Panel, samples: Sequence[Sample], place: int) -> str:
    x, y = place % COLUMNS * WIDTH, place // COLUMNS * HEIGHT
    end = samples[-1]["at"]
    most = _round(max(of(one) for of in panel.lines.values() for one in samples))
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [
        f'<text class="title" x="{LEFT}" y="14">{escape(panel.title)}</text>',
        *(_shade(part[0]["at"], part[-1]["at"], end) for part in windows(samples)),
        f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}" fill="none"/>',
        f'<text x="{LEFT - 5}" y="{TOP + 4}" text-anchor="end">{most:g}</text>',
        f'<text x="{LEFT - 5}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end">{end / 60:.0f} min</text>',
    ]
    for number, (name, of) in enumerate(panel.lines.items()):
        points = " ".join(f"{_across(one['at'], end):.1f},{_up(of(one), most):.1f}" for one in samples)
        parts.append(f'<polyline class="of-{number}" points="{points}"/>')
        parts.append(f'<text class="of-{number}" x="{LEFT + 90 * number}" y="28">{escape(name)}</text>')
    return "\n".join([f'<g transform="translate({x} {y})">', *parts, "</g>"])


def _shade(since: float, until: float, end: float) -> str:
    left, right = _across(since, end), _across(until, end)
    height = HEIGHT - TOP - BOTTOM
    return f'<rect class="compared" x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{height}"/>'


def _across(at: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * at / end


def _up(value: float, most: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most


def _round(most: float) -> float:
    """Return a round figure that is not below this one."""
    unit = 1.0
    while unit < most:
        unit *= 10
    while unit / 10 >= max(most, 1e-6):
        unit /= 10
    return next(part * unit for part in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0) if part * unit >= most)
