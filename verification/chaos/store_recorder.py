"""Stands between a process and its store, and writes down what was asked and what was answered."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pseudocron.backends.model import Kind, Reason
from pseudocron.backends.questions import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Run
    from pseudocron.backends.questions import Claim, End, Finished, Poll, Polled, Take
    from verification.chaos.history import Notes

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


def recorded(backend: Backend, notes: Notes) -> Backend:
    """Watch a backend from now on, and return it."""
    recorder = StoreRecorder(backend, notes)
    for verb in ("poll", "finish", "renew"):
        setattr(backend, verb, getattr(recorder, verb))
    return backend


class StoreRecorder:
    """The verbs whose answers matter.

    Args:
        backend: Which is asked.
        notes: Where that is written down.
    """

    def __init__(self, backend: Backend, notes: Notes) -> None:
        self._notes = notes
        self._poll, self._finish, self._renew = backend.poll, backend.finish, backend.renew

    async def poll(self, poll: Poll) -> Polled | None:
        asked, polled = time.time(), await self._poll(poll)
        if polled is not None:
            self._notes.add("enter", asked=asked)
            self._skipped(poll, polled, asked)
            self._lost(polled.lost, asked)
            self._claimed(polled.claims, polled.dropped, asked)
        return polled

    def _skipped(self, poll: Poll, polled: Polled, asked: float) -> None:
        plans = {plan.name: plan for plan in poll.plans if plan.name not in polled.outdated}
        skips: list[tuple[str, datetime, datetime, Reason]] = [
            (skip.name, skip.first or skip.slot, skip.slot, skip.reason)
            for plan in plans.values()
            for skip in plan.skips
            if skip.reason is not Reason.CLOCK_BACK
        ]
        skips += [
            (refused.name, refused.slot, refused.slot, Reason(str(refused.why)))
            for refused in polled.refused
            if refused.why is Refusal.PAUSED or (refused.why is Refusal.OVERLAP and plans[refused.name].coalesce)
        ]
        for name, first, slot, reason in skips:
            self._notes.add("skip", cron=name, first=micros(first), slot=micros(slot), reason=reason, asked=asked)

    def _lost(self, runs: Sequence[Run], asked: float) -> None:
        for run in runs:
            told = {"run": run.run_id, "fence": run.fence, "state": run.state, "losses": run.lost, **_whose(run)}
            self._notes.add("lost", asked=asked, **told)

    def _claimed(self, claims: Sequence[Claim], dropped: Sequence[Run], asked: float) -> None:
        for run in dropped:
            self._notes.add("drop", asked=asked, run=run.run_id, state=run.state, **_whose(run))
        for claim in claims:
            told = {"fence": claim.fence, "attempt": claim.attempt, "clock": micros(claim.started), **_whose(claim)}
            told |= {"job": claim.run_id, "key": claim.key} if claim.kind is Kind.JOB else {"run": claim.run_id}
            self._notes.add("claim", asked=asked, **told)

    async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
        asked, runs = time.time(), [(end.claim.run_id, end.claim.fence) for end in ends]
        self._notes.add("finishing", runs=runs, again=[end.due is not None for end in ends])
        finished = await self._finish(ends, take)
        own = [state is not None for state in finished.states]
        self._notes.add("finish", runs=runs, own=own, states=finished.states, asked=asked)
        self._claimed(finished.claims, finished.dropped, asked)
        return finished

    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        asked, living = time.time(), self._renew(claims, lease)
        runs = [(claim.run_id, claim.fence) for claim in claims if claim.run_id in living]
        if runs:
            self._notes.add("renew", runs=runs, asked=asked)
        return living


def _whose(run: Run | Claim) -> dict[str, Any]:
    """Of which task it is, or of which slot of which cron."""
    return {"task": run.name} if run.slot is None else {"cron": run.name, "slot": micros(run.slot)}
