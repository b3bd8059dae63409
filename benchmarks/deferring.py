"""How many jobs a second are deferred, durably, against what other embedded queues store in the same time."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contest import APSCHEDULER, HUEY, NUMBER, OURS, deferred, rates, row
from benchmarks.measuring import Row, show

ONE_BY_ONE, AT_ONCE = 1.4, 10.0
"""Goals: times the better peer, which has nothing to defer many at once with."""
PEERS = (HUEY, APSCHEDULER)
WAYS = (
    ("defer", f"deferring {NUMBER:,} jobs, `await defer(...)` one by one", ONE_BY_ONE),
    ("defer_sync", f"deferring {NUMBER:,} jobs, `defer_sync(...)` one by one", None),
    ("defer_many", f"deferring {NUMBER:,} jobs, `defer_many(...)` at once; the peers one by one", AT_ONCE),
)


def measure() -> list[Row]:
    """The rows of this benchmark."""
    ours = [replace(OURS, name=verb, verb=verb) for verb, _, _ in WAYS]
    found = rates([*ours, *PEERS], deferred)
    peers = {peer.name: found[peer.name] for peer in PEERS}
    return [row(what, found[verb], peers, goal=goal) for verb, what, goal in WAYS]


if __name__ == "__main__":
    show(measure())
