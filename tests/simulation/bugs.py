"""Bugs to plant in the product, each of which the simulation has to find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from pseudocron.backends import rules
from pseudocron.backends.jobs import JobState
from pseudocron.backends.memory import queue
from pseudocron.backends.memory.queue import Jobs
from pseudocron.backends.memory.shelf import Shelf
from pseudocron.backends.memory.slots import Slots
from pseudocron.runner.leases import Keeper

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


BUGS: Mapping[str, Patch] = {
    "the mark is not checked": (rules, "_taken", lambda *_: False),
    "a lease is not renewed": (Keeper, "renew", lambda _: None),
    "the gate's second read is left out": (Slots, "enter", _enter_unread),
    "a key's mark is forgotten": (Shelf, "dropped_as", lambda *_: None),
    "a fence is not checked at the finish": (Jobs, "_own", _own_by_its_name),
    "a lost job does not come back": (queue, "lost", _lost_for_ever),
    "a running key keeps nobody waiting": (Shelf, "pick", _pick_whatever_runs),
    "a lease is over too early": (Slots, "reap", _reap_early),
}


@contextmanager
def planted(bug: str) -> Iterator[None]:
    """The product with this bug."""
    where, name, instead = BUGS[bug]
    with patch.object(where, name, instead):
        yield
