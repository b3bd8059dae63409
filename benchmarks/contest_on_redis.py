"""How many jobs a second are deferred, and how many run, on a Redis server, against other queues on the same."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.contest import FEW, OURS, Contestant, deferred, drained, fill, rates, row
from benchmarks.contestants.taking_part import CONCURRENT
from benchmarks.measuring import Row, show
from harness.redis_server import KEEPING, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

GOAL = 1.5
ONE_BY_ONE, AT_ONCE, MANY, WIDE = 1.0, 2.5, 5.0, 2.0
"""Goals: times the best peer."""
NUMBER = 5000
"""How many jobs; RQ does the few at the same rate."""


@contextmanager
def on_redis(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run a server whose data are in the folder, under the names that the contestants read."""
    with serving(folder, options=KEEPING) as server:
        yield {"REDIS_URL": server.url, "PSEUDOCRON_BACKEND": server.url, "PSEUDOCRON_APP": "contest"}


MINE = replace(OURS, number=NUMBER, beside=on_redis)
ARQ = Contestant(name="arq", program="with_arq", number=NUMBER, beside=on_redis)
TASKIQ = Contestant(name="taskiq", program="with_taskiq", number=NUMBER, beside=on_redis)
RQ = Contestant(name="RQ", program="with_rq", number=FEW, beside=on_redis)
PEERS = (ARQ, TASKIQ)
"""Those that promise what we do; RQ, which has no such promise, stands beside them."""
ON = "on Redis (appendonly, everysec)"


def _deferring() -> list[Row]:
    ours = {verb: replace(MINE, name=verb, verb=verb) for verb in ("defer", "defer_concurrently", "defer_many")}
    at_once = [replace(peer, name=f"{peer.name}, {CONCURRENT}", verb="defer_concurrently") for peer in PEERS]
    many = replace(RQ, name="RQ, enqueue_many", verb="defer_many")
    found = rates([*ours.values(), *PEERS, *at_once, RQ, many], deferred)
    peers, peers_at_once = ({peer.name: found[peer.name] for peer in those} for those in (PEERS, at_once))
    rq, rq_many = ({each.name: found[each.name]} for each in (RQ, many))
    what = f"deferring {NUMBER:,} jobs {ON}"
    return [
        row(f"{what}, one by one", found["defer"], peers, goal=ONE_BY_ONE, beside=rq),
        row(f"{what}, {CONCURRENT} at a time", found["defer_concurrently"], peers_at_once, goal=AT_ONCE),
        row(
            f"{what}, `defer_many(...)` at once; arq and taskiq one by one",
            found["defer_many"],
            peers,
            goal=MANY,
            beside=rq_many,
        ),
    ]


def _draining() -> list[Row]:
    one = replace(MINE, name="one", verb="drain")
    wide = replace(one, name="wide", environ={"PSEUDOCRON_CONCURRENCY": "100"})
    alone, rq = [replace(peer, verb="drain") for peer in PEERS], replace(RQ, verb="drain")
    four = [replace(each, name=f"{each.name}, four", processes=4) for each in (one, *alone)]
    with ExitStack() as stack:
        contestants = [one, wide, *alone, rq, *four]
        full = fill(contestants, stack)
        found = rates(contestants, lambda each: drained(each, full[each.name]))
    what = f"draining {NUMBER:,} due jobs {ON}"
    peers = {peer.name: found[peer.name] for peer in alone}
    beside = {rq.name: found[rq.name]}
    fours = {peer.name: found[peer.name] for peer in four[1:]}
    return [
        row(f"{what}; one process", found["one"], peers, goal=GOAL, beside=beside),
        row(f"{what}; one process, concurrency 100", found["wide"], peers, goal=WIDE, beside=beside),
        row(f"{what}; four processes", found[four[0].name], fours, goal=GOAL),
    ]


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    return [*_deferring(), *_draining()]


if __name__ == "__main__":
    show(measure())
