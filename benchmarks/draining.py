"""How many due jobs a second are run and recorded, by one process and by four, against other embedded queues."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from benchmarks.contest import APSCHEDULER, HUEY, NUMBER, OURS, drained, fill, rates, row
from benchmarks.measuring import Row, show

GOAL = 4.0
"""Times the better peer."""
WIDE = {"PSEUDOCRON_CONCURRENCY": "100"}

ONE = replace(OURS, name="one", verb="drain")
PLAIN = replace(ONE, name="plain", fill="fill_plain")
"""Each run is in a thread; an async function runs on the event loop."""
ALONE = (
    (ONE, "one process", GOAL),
    (replace(ONE, name="wide", environ=WIDE), "one process, concurrency 100", GOAL),
    (PLAIN, "one process, a plain function instead of an async one", None),
)
ONE_BESIDE = (replace(HUEY, verb="drain"), replace(APSCHEDULER, verb="drain"))
FOUR = replace(ONE, name="four", processes=4)
FOUR_BESIDE = replace(HUEY, name="huey, 4 worker processes", verb="drain_by_four")
"""APScheduler's stores are each for one process."""


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    ours = [one for one, _, _ in ALONE]
    contestants = [*ours, *ONE_BESIDE, FOUR, FOUR_BESIDE]
    with ExitStack() as stack:
        full = fill(contestants, stack)
        found = rates(contestants, lambda one: drained(one, full[one.name]))
    what = f"draining {NUMBER:,} due jobs"
    peers = {peer.name: found[peer.name] for peer in ONE_BESIDE}
    one = [row(f"{what}; {how}", found[ours.name], peers, goal=goal) for ours, how, goal in ALONE]
    best = {**peers, FOUR_BESIDE.name: found[FOUR_BESIDE.name]}
    return [*one, row(f"{what}; four processes", found[FOUR.name], best, goal=GOAL)]


if __name__ == "__main__":
    show(measure())
