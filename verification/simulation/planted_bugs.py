"""Bugs to plant in the product, each of which the simulation has to find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from pseudocron import scheduler
from pseudocron.backends import rules
from pseudocron.backends.jobs import JobState
from pseudocron.backends.memory import queue
from pseudocron.backends.memory.queue import Jobs
from pseudocron.backends.memory.shelf import Shelf
from pseudocron.backends.memory.slots import Slots
from pseudocron.polling import Polls
from pseudocron.runner.leases import Keeper
from pseudocron.runner.runs import Runs
from pseudocron.runtime import Runtime

Patch = tuple[Any, str, Any]


async def _enter_unread(self: Any, max_age: float) -> bool:
    with self._store.lock:
        self._store.gate = self._now()
    return True


def _own_by_its_name(self: Any, claim: Any, *, over: bool = False) -> Any:
    kept = self._shelf.jobs.get(claim.job_id)
    return kept if kept and kept.place in self._shelf.running and kept.over is over else None


def _lost_for_ever(job: Any, mark: Any, now: Any) -> Any:
    return replace(job, state=JobState.FAILED, ended=now)


def _pick_whatever_runs(self: Any, tasks: Any, *, limit: int, now: Any) -> Any:
    running, self.running = self.running, {}
    try:
        return _pick(self, tasks, limit=limit, now=now)
    finally:
        self.running = running


_pick = Shelf.pick


async def _reap_early(self: Any) -> Any:
    now = self._now
    self._now = lambda: now() + timedelta(seconds=5)
    try:
        return await _reap(self)
    finally:
        self._now = now


_reap = Slots.reap


def _gate_left_alone(verb: Any, *, counts: bool) -> Any:
    """The verb that records ends, but for the gate where an attempt that is counted, or one that is not, comes back."""

    async def finish_jobs(self: Any, ends: Any) -> Any:
        gate = self._store.gate
        states = await verb(self, ends)
        if any(end.state is JobState.PENDING and end.counts is counts for _, end in ends):
            self._store.gate = gate
        return states

    return finish_jobs


async def _due_but_for_leases(self: Any, tasks: Any) -> Any:
    return self._shelf.first_due(tasks, self._clock())


def _request_unless_polling(self: Any, reason: Any) -> Any:
    return _request(self, reason) if self.task is None else self.next()


_request = Polls.request


async def _never_recorded(self: Any, *_: Any, **__: Any) -> bool:
    await self._worker.host.sleep(1e6)
    return False


BUGS: Mapping[str, Patch] = {
    "the mark is not checked": (rules, "_taken", lambda *_: False),
    "a lease is not renewed": (Keeper, "renew", lambda _: None),
    "the gate's second read is left out": (Slots, "enter", _enter_unread),
    "a key's mark is forgotten": (Shelf, "dropped_as", lambda *_: None),
    "a fence is not checked at the finish": (Jobs, "_own", _own_by_its_name),
    "a lost job does not come back": (queue, "lost", _lost_for_ever),
    "a running key keeps nobody waiting": (Shelf, "pick", _pick_whatever_runs),
    "a lease is over too early": (Slots, "reap", _reap_early),
    "a retry does not bring the gate forward": (Jobs, "finish_jobs", _gate_left_alone(Jobs.finish_jobs, counts=True)),
    "a hand-back does not bring the gate forward": (
        Jobs,
        "finish_jobs",
        _gate_left_alone(Jobs.finish_jobs, counts=False),
    ),
    "a poll does not date the gate by the ends of leases": (Jobs, "next_due", _due_but_for_leases),
    "no poll follows when capacity is free again": (Runtime, "_on_capacity", lambda *_: None),
    "a poll under way swallows a newer request": (Polls, "request", _request_unless_polling),
    "a fresh gate is remembered for half a minute": (scheduler, "READ_AGAIN", 30.0),
    "a run that has ended is renewed for ever": (Runs, "_record", _never_recorded),
    "a lease is renewed after its result": (Keeper, "drop", lambda *_: None),
}


@contextmanager
def planted(bug: str) -> Iterator[None]:
    """The product with this bug."""
    where, name, instead = BUGS[bug]
    with patch.object(where, name, instead):
        yield
