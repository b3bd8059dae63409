"""Bugs to plant in the product, each of which the simulation has to find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from pseudocron.backends import rules
from pseudocron.backends.file import earliest, gate, pending, polls, runs
from pseudocron.backends.file.backend import Memory
from pseudocron.backends.file.plans import Cron
from pseudocron.backends.file.transaction import after
from pseudocron.backends.model import State
from pseudocron.polling import Polls
from pseudocron.runtime import Runtime
from pseudocron.worker import cache, due
from pseudocron.worker import poll as worker_poll
from pseudocron.worker.cache import DueCache
from pseudocron.worker.leases import LeaseRenewer
from pseudocron.worker.results import ResultWriter

Patch = tuple[Any, str, Any]

# Of the store


def _always_current(self: Any) -> bool:
    self.mark = None
    return True


def _poll_unread(self: Any, store: Any, poll: Any) -> Any:
    return _poll(self, store, poll._replace(force=True))


_poll = Memory._poll


def _finish_whatever_fence(txn: Any, ends: Any) -> Any:
    living = dict(txn.db.execute("SELECT run_id, fence FROM living").fetchall())
    fences = [living.get(end.claim.run_id, end.claim.fence) for end in ends]
    held = [end.claim._replace(fence=fence) for end, fence in zip(ends, fences, strict=True)]
    return _finish_runs(txn, [end._replace(claim=claim) for end, claim in zip(ends, held, strict=True)])


_finish_runs = runs.finish


def _ended_though_stopped(run: Any, end: Any, *, stop: bool, **how: Any) -> Any:
    return _ended(run, end, stop=False, **how)


_ended = rules.ended


def _lost_for_ever(run: Any, *, now: Any, **_: Any) -> Any:
    return run._replace(state=State.FAILED, ended=now, lost=run.lost + 1)


def _lost_as_failed(run: Any, **how: Any) -> Any:
    run = _lost(run, **how)
    return run._replace(failures=run.failures + 1)


_lost = rules.lost


def _end_leases_early(txn: Any) -> Any:
    now, txn.now = txn.now, after(txn.now, 5)
    try:
        return _end_leases(txn)
    finally:
        txn.now = now


_end_leases = runs.end_leases


def _finish_over_all(self: Any, txn: Any, ends: Any, take: Any) -> Any:
    return _finish(self, txn, [end._replace(goes_on=False) for end in ends], take)


def _gate_left_alone(*, counts: bool) -> Any:
    """Record ends, but leave the gate alone where an attempt, counted or not, comes back."""

    async def finish(self: Any, ends: Any, take: Any = None) -> Any:
        dated = self._gate.dated()
        finished = await _finish_verb(self, ends, take)
        is_back = any(state is State.PENDING for state in finished.states)
        if is_back and any(end.due and end.counts is counts for end in ends):
            self._gate.date(dated)
            return finished._replace(fresh_for=self._stale_in())
        return finished

    return finish


_finish, _finish_verb = Memory._finish, Memory.finish


def _enter_for_long(one: Any, dated: int | None, now: int, fresh_for: float) -> None:
    one.date(after(now, LONG))


LONG = 5.0
"""The smallest `CRON_MAX_TIME` of a scenario: to nobody is this a date from before a step of the clock."""


async def _resume_only(self: Any, name: str, paused: bool) -> None:  # noqa: FBT001 - as in the contract
    dated = self._gate.dated()
    await _pause(self, name, paused)
    self._gate.date(dated)


_pause = Memory.pause

# Of the worker


def _request_unless_polling(self: Any, reason: Any) -> Any:
    return _request(self, reason) if self.task is None else self.next()


_request = Polls.request


def _plan_without_next(cron: Any, state: Any, *args: Any, **how: Any) -> Any:
    plan = _plan(cron, state, *args, **how)
    return plan._replace(next=None) if state.paused else plan


_plan = due.plan


def _state_though_paused(self: Any, cron: Any) -> Any:
    known = self._known.get(cron.name) if self.is_current else None
    return known.state if known else None


BUGS: Mapping[str, Patch] = {
    "the mark is not checked": (Cron, "is_current", _always_current),
    "a lease is not renewed": (LeaseRenewer, "renew", lambda _: None),
    "the gate's second read is left out": (Memory, "_poll", _poll_unread),
    "a cancelled run comes back": (rules, "ended", _ended_though_stopped),
    "a fence is not checked at the finish": (runs, "finish", _finish_whatever_fence),
    "a lost run does not come back": (rules, "lost", _lost_for_ever),
    "a loss counts as a failure": (rules, "lost", _lost_as_failed),
    "a running key makes no other job wait": (
        pending,
        "_IN_TURN_OF",
        {is_job: text.replace(pending.FREE, "1") for is_job, text in pending._IN_TURN_OF.items()},
    ),
    "a lease is over too early": (polls, "end_leases", _end_leases_early),
    "a lease is not kept while its code still runs": (Memory, "_finish", _finish_over_all),
    "a later slot does not replace a retry": (Cron, "replace", lambda _: []),
    "a retry does not bring the gate forward": (Memory, "finish", _gate_left_alone(counts=True)),
    "a hand-back does not bring the gate forward": (Memory, "finish", _gate_left_alone(counts=False)),
    "a resumption does not bring the gate forward": (Memory, "pause", _resume_only),
    "a release does not bring the gate forward": (runs, "count", lambda *_: None),
    "a poll does not date the gate by the ends of leases": (
        earliest,
        "EARLIEST",
        earliest.EARLIEST.replace(earliest.FIRST_END, "SELECT NULL"),
    ),
    "entering dates the gate by CRON_MAX_TIME": (gate, "enter", _enter_for_long),
    "no poll follows when capacity is free again": (Runtime, "_on_recorded", lambda *_: None),
    "a poll under way swallows a newer request": (Polls, "request", _request_unless_polling),
    "a fresh gate is remembered for half a minute": (worker_poll, "READ_AGAIN", 30.0),
    "a paused cron has no next slot": (cache, "plan", _plan_without_next),
    "a paused cron is remembered": (DueCache, "state", _state_though_paused),
    "a run that has ended is renewed for ever": (ResultWriter, "record", lambda *_: None),
    "a lease is renewed after its result": (LeaseRenewer, "drop", lambda *_: None),
}


@contextmanager
def planted(bug: str) -> Iterator[None]:
    """Plant this bug in the product until the block ends."""
    where, name, instead = BUGS[bug]
    with patch.object(where, name, instead):
        yield
