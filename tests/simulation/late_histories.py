"""Histories in which something starts late, and such in which nobody could have started it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pseudocron.backends.model import State
from simulation.made_events import (
    able,
    claim,
    claim_job,
    defer,
    event,
    finish,
    finish_job,
    known,
    later,
    lose,
    lose_job,
    poll,
    resting,
    visit,
    well,
)
from verification.simulation.history import Event
from verification.simulation.scenario import Kind as Fault

History: TypeAlias = Sequence[Event]

PENDING, REPLACED = State.PENDING, State.REPLACED
IN_USE = poll(0.2, who=2)


def visited(since: float, *events: Event) -> History:
    """Process 1 is visited 1.4 s after something is due, and in the 0.4 s after that nothing comes of it."""
    return [IN_USE, *well(), *events, visit(since + 1.4), later(since + 1.8)]


def job(at: float = 1.0, due: float = 2.0) -> Event:
    return defer(at, "a", due=due)


def ended(at: float, one: str, due: float, got: State | None = None) -> Event:
    """A job of process 2 is retried."""
    return finish_job(at, one, due=due, who=2, got=got)


_RUNS = [defer(1.0, "a", key="k"), claim_job(1.1, "a", who=2)]
_KEY = [*_RUNS, defer(1.2, "b", key="k")]
_THREE = [defer(1.0, one) for one in "abc"]
_LIMIT = [*_THREE, claim_job(1.1, "a", who=2), claim_job(1.1, "b", who=2)]
_FULL = [*_THREE, claim_job(1.1, "a"), claim_job(1.1, "b")]
_SLOT = [known(1.0), claim(1.1, 0, who=2, mark=-1)]
_CRASH = event(1.2, Fault.CRASH, 0.0, who=2)
_TORN = [*well(who=2), job(), event(2.0, Fault.TORN, poll(0.0).given[0], who=2)]
_DID = event(1.5, "did", "send", "a", 1)
_RETRY = [*_SLOT, finish(1.2, number=0, who=2, due=5.0, got=PENDING)]
_BACK = [*_SLOT, finish(2.0, number=0, who=2, said=State.INTERRUPTED, due=2.0, got=PENDING, counts=False)]
_PAUSED = [known(1.0), event(1.1, "pause", "mail", True)]

DUE: Mapping[str, History] = {
    "a job": visited(2.0, job()),
    "a job that replaces another": visited(2.0, defer(1.0, "a", due=9.0, key="k"), defer(2.0, "b", key="k")),
    "a retry": visited(5.0, *_RUNS, ended(1.2, "a", 5.0)),
    "a job that is handed back": visited(2.0, *_RUNS, ended(2.0, "a", 2.0)),
    "a job that was lost": visited(8.0, *_RUNS, _CRASH, lose_job(8.0, "a")),
    "the lease of a job": visited(7.1, *_RUNS),
    "a job whose key is free": visited(2.0, *_KEY, ended(2.0, "a", 2.0, got=REPLACED)),
    "a job of a task below its limit": visited(2.0, *_LIMIT, ended(2.0, "b", 60.0)),
    "a slot": visited(10.0, known(1.0)),
    "a slot after the cron was resumed": visited(11.0, *_PAUSED, event(11.0, "pause", "mail", False)),
    "a slot below which the mark was set": visited(2.0, known(1.0), event(2.0, "reset", "mail", known(-20).clock)),
    "a retry of a slot": visited(5.0, *_RETRY),
    "a slot that is handed back": visited(2.0, *_BACK),
    "a slot that was lost": visited(8.0, *_SLOT, _CRASH, lose(8.0, 0)),
    "the lease of a slot": visited(7.1, *_SLOT),
}
"""Each kind of what may come due, not started after a visit."""

UNVISITED: Mapping[str, History] = {
    "a ticker": [IN_USE, *well(ticker=True), job(), later(3.7)],
    "capacity that is free again": [*well(), *_FULL, _DID, finish_job(2.0, "a", State.SUCCEEDED), later(3.7)],
    "a defer in the same process": [IN_USE, *well(), defer(2.0, "a", who=1), later(3.7)],
}
"""What lets a process poll though nobody visits it, and nothing started."""

FAULTS: Mapping[str, History] = {
    "paused": visited(2.8, job(), event(1.5, Fault.PAUSE, 1.0)),
    "blocked": visited(2.8, job(), event(1.5, Fault.BLOCK, 1.0)),
    "cut off": visited(4.8, job(), event(1.5, Fault.CUT, 1.0)),
    "losing answers": visited(4.8, job(), event(1.5, Fault.LOSE, 1.0)),
    "slow": visited(6.8, job(), event(1.5, Fault.SLOW, 1.0)),
    "by a wrong clock": visited(3.0, job(), event(1.5, Fault.CLOCK, 9.0), event(3.0, "stale_in")),
    "when the clock of the store was stepped": visited(
        3.0, job(), event(1.5, Fault.STORE_CLOCK, 0.0, who=-1), event(3.0, "stale_in")
    ),
    "when another one died in a poll": visited(4.0, *_TORN),
}
"""Nothing started when a fault is over, and what it takes."""

LATE: Mapping[str, History] = {**DUE, **UNVISITED, **FAULTS}

EXCUSED: Mapping[str, History] = {
    "started": [IN_USE, *well(), job(), visit(3.4), claim_job(3.6, "a", due=2.0), later(9.0)],
    "not visited for long enough": [IN_USE, *well(), job(), visit(3.2), later(9.0)],
    "not due yet": [IN_USE, *well(), job(due=9.0), visit(8.9), later(9.5)],
    "expired": visited(2.0, defer(1.0, "a", due=2.0, expires_at=3.0)),
    "full": visited(2.0, *_FULL),
    "full when visited": [*well(), *_THREE, visit(3.4), claim_job(3.5, "a"), claim_job(3.5, "b"), later(9.0)],
    "without the task": visited(2.0, able(0.6, tasks=(), executes=True), job()),
    "without the cron": visited(10.0, able(0.6, crons=(), executes=True), known(1.0)),
    "not meant to execute": visited(2.0, able(0.6, executes=False), job()),
    "of a task that is not in use any more": visited(42.0, defer(1.0, "a", due=42.0)),
    "of a cron that is not in use any more": visited(42.0, known(1.0), claim(40.0, 4), later(80.0)),
    "for want of a thread": visited(2.0, resting(1.5), job()),
    "beside its key": visited(2.0, *_KEY),
    "beside the limit of its task": visited(2.0, *_LIMIT),
    "paused": visited(11.0, *_PAUSED),
    "not yet well": visited(2.0, job(), event(1.5, Fault.PAUSE, 1.0)),
    "stopped": visited(2.0, job(), event(1.5, Fault.STOP, 0.0)),
    "died": [IN_USE, *well(), job(), visit(3.4), event(3.5, "died"), later(9.0)],
    "when another one died in a poll": visited(3.0, *_TORN),
    "by a wrong clock, as the answer may be lost": visited(
        4.8, job(), event(1.5, Fault.LOSE, 1.0), event(1.6, Fault.CLOCK, 9.0), event(2.0, "stale_in")
    ),
    "while another one polls": [IN_USE, *well(), *well(who=2), poll(2.0, who=2), defer(2.0, "a", who=1), later(9.0)],
}
"""Why a process need not have started something."""
