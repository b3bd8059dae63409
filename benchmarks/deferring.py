"""How many jobs a second are deferred, durably, against what other embedded queues store in the same time."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contest import APSCHEDULER, HUEY, NUMBER, OURS, deferred, rates, row
from benchmarks.measuring import Row, show

ONE_BY_ONE, AT_ONCE = 1.4, 10.0
"""Goals: times the better peer, which has nothing to defer many at once with."""
PEERS = (HUEY, APSCHEDULER)
HUEY_BY_EIGHT = replace(HUEY, name="huey, 8 threads", verb="defer_by_eight")
WAYS = (
    ("defer", "`await defer(...)` one by one", ONE_BY_ONE, PEERS),
    ("defer_concurrently", "`await defer(...)`, 64 at a time; the peers one by one", None, PEERS),
    ("defer_sync", "`defer_sync(...)` one by one", None, PEERS),
    ("defer_sync_by_eight", "`defer_sync(...)` from 8 threads; huey one by one from 8 threads", None, [HUEY_BY_EIGHT]),
    ("defer_many", "`defer_many(...)` at once; the peers one by one", AT_ONCE, PEERS),
)


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    ours = [replace(OURS, name=verb, verb=verb) for verb, _, _, _ in WAYS]
    found = rates([*ours, *PEERS, HUEY_BY_EIGHT], deferred)
    return [
        row(
            f"deferring {NUMBER:,} jobs, {what}",
            found[verb],
            {peer.name: found[peer.name] for peer in peers},
            goal=goal,
        )
        for verb, what, goal, peers in WAYS
    ]


if __name__ == "__main__":
    show(measure())
