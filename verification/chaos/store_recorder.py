"""Stands between a process and its store, and writes down what was asked and what was answered."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pseudocron.backends.records import Claim, Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from pseudocron.backends.base import Backend
    from pseudocron.backends.jobs import JobClaim, JobEnd, JobState
    from pseudocron.backends.records import Proposal, Result, Skip
    from verification.chaos.history import Notes

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


def recorded(backend: Backend, notes: Notes) -> Backend:
    """The same backend, which from now on is watched."""
    recorder = StoreRecorder(backend, notes)
    for verb in ("enter", "claim", "skip", "finish", "renew", "claim_jobs", "finish_jobs", "renew_jobs"):
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
        self._enter = backend.enter
        self._claim, self._skip, self._finish, self._renew = backend.claim, backend.skip, backend.finish, backend.renew
        self._claim_jobs, self._finish_jobs, self._renew_jobs = (
            backend.claim_jobs,
            backend.finish_jobs,
            backend.renew_jobs,
        )

    async def enter(self, max_age: float) -> bool:
        asked, entered = time.time(), await self._enter(max_age)
        if entered:
            self._notes.add("enter", asked=asked)
        return entered

    async def claim(self, proposal: Proposal) -> Claim | Refusal:
        asked, answer = time.time(), await self._claim(proposal)
        if isinstance(answer, Claim):
            told = {"cron": answer.name, "run": answer.run_id, "slot": micros(answer.slot)}
            self._granted(answer, asked, recovers=proposal.recovers, **told)
        elif answer in {Refusal.OVERLAP, Refusal.PAUSED} and proposal.recovers is None:
            self._skipped(proposal.name, proposal.slot, proposal.slot, str(answer), asked)
        return answer

    def _granted(self, claim: Claim | JobClaim, asked: float, **told: Any) -> None:
        told |= {"fence": claim.fence, "attempt": claim.attempt, "clock": micros(claim.started)}
        self._notes.add("claim", asked=asked, **told)

    def _skipped(self, name: str, first: datetime, slot: datetime, reason: str, asked: float) -> None:
        self._notes.add("skip", cron=name, first=micros(first), slot=micros(slot), reason=reason, asked=asked)

    async def skip(self, skips: Sequence[Skip]) -> None:
        asked = time.time()
        await self._skip(skips)
        for skip in skips:
            if skip.reason is not Reason.CLOCK_BACK:
                self._skipped(skip.name, skip.first or skip.slot, skip.slot, str(skip.reason), asked)

    async def finish(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> bool:
        async def ask() -> list[bool]:
            return [await self._finish(claim, result, keep_lease=keep_lease)]

        (own,) = await self._finished([(claim.run_id, claim.fence)], ask)
        return bool(own)

    async def finish_jobs(self, ends: Sequence[tuple[JobClaim, JobEnd]]) -> Sequence[JobState | None]:
        runs = [(claim.job_id, claim.fence) for claim, _ in ends]
        return await self._finished(runs, lambda: self._finish_jobs(ends))

    async def _finished(
        self, runs: list[tuple[str, int]], ask: Callable[[], Awaitable[Sequence[Any]]]
    ) -> Sequence[Any]:
        asked = time.time()
        self._notes.add("finishing", runs=runs)
        answer = await ask()
        self._notes.add("finish", runs=runs, own=[bool(one) for one in answer], asked=asked)
        return answer

    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        asked, living = time.time(), self._renew(claims, lease)
        self._renewed([(claim.run_id, claim.fence) for claim in claims if claim.run_id in living], asked)
        return living

    def renew_jobs(self, claims: Sequence[JobClaim], lease: float) -> Collection[str]:
        asked, living = time.time(), self._renew_jobs(claims, lease)
        self._renewed([(claim.job_id, claim.fence) for claim in claims if claim.job_id in living], asked)
        return living

    def _renewed(self, runs: list[tuple[str, int]], asked: float) -> None:
        if runs:
            self._notes.add("renew", runs=runs, asked=asked)

    async def claim_jobs(self, *args: Any, **options: Any) -> Sequence[JobClaim]:
        asked, claims = time.time(), await self._claim_jobs(*args, **options)
        for claim in claims:
            self._granted(claim, asked, job=claim.job_id, task=claim.task, key=claim.key)
        return claims
