"""The gate, the slots and the history in memory: the reference of their contract."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from pseudocron.backends.base import Backend
from pseudocron.backends.memory.store import Cron, Line, Store
from pseudocron.backends.records import (
    Claim,
    Lingering,
    Outcome,
    Proposal,
    Reaped,
    Refusal,
    Result,
    Run,
    Skip,
    State,
)
from pseudocron.backends.slot_rules import RECOVERABLE, claim_of, granted, grows, merged, refusal, skip_for, skipped
from pseudocron.truncation import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime


class Slots(Backend):
    """The verbs of the gate and of the slots.

    Args:
        store: What it shares with others.
        keep: How many runs, and how many skips, are kept of each cron.
        now: The clock.
    """

    durable: ClassVar[bool] = False

    def __init__(self, store: Store, *, keep: int, now: Callable[[], datetime]) -> None:
        self._store = store
        self._keep = keep
        self._now = now

    async def open(self) -> None:
        """There is nothing to reach."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def fresh_for(self, max_age: float) -> float:
        """See `Backend.fresh_for`."""
        with self._store.lock:
            return self._store.fresh_for(max_age, self._now())

    async def enter(self, max_age: float) -> bool:
        """See `Backend.enter`."""
        with self._store.lock:
            stale = not self._store.fresh_for(max_age, self._now())
            if stale:
                self._store.gate = self._now()
            return stale

    async def lower(self, due: datetime, max_age: float) -> float:
        """See `Backend.lower`."""
        with self._store.lock:
            self._store.bring_forward(due, max_age, self._now())
            return self._store.fresh_for(max_age, self._now())

    def _bring_forward(self, due: datetime | None = None) -> None:
        """Bring the gate forward to an instant; None: to now."""
        now = self._now()
        self._store.bring_forward(due or now, self.cron_max_time, now)

    async def states(self, marks: Mapping[str, datetime]) -> Mapping[str, State]:
        """See `Backend.states`."""
        with self._store.lock:
            return {name: self._state(name, mark) for name, mark in marks.items()}

    def _state(self, name: str, first: datetime) -> State:
        cron = self._store.cron(name)
        cron.mark = cron.mark or first
        runs = [line.run for line in self._store.of(name) if line.run.reason is None]
        return State(
            name=name,
            mark=cron.mark,
            back=cron.back,
            paused=cron.paused,
            runs=cron.claims,
            failures=cron.failures,
            missed=cron.missed,
            running=len(self._store.living(name)),
            last=runs[-1] if runs else None,
        )

    async def claim(self, proposal: Proposal) -> Claim | Refusal:
        """See `Backend.claim`."""
        with self._store.lock:
            orphan = self._orphan(proposal)
            cron = self._store.crons.get(proposal.name, Cron())
            living = self._store.living(proposal.name)
            why = refusal(
                proposal,
                now=self._now(),
                mark=cron.mark,
                paused=cron.paused,
                living=len(living),
                orphan=orphan.run if orphan else None,
            )
            if why is None:
                return self._grant(proposal, orphan)
            if skip := skip_for(proposal, why, living):
                self._skip(skip, worker=proposal.worker)
            return why

    def _orphan(self, proposal: Proposal) -> Line | None:
        lines = self._store.of(proposal.name)
        return next((line for line in lines if line.waits and line.run.run_id == proposal.recovers), None)

    def _grant(self, proposal: Proposal, orphan: Line | None) -> Claim:
        cron, now = self._store.cron(proposal.name), self._now()
        if not proposal.manual:
            cron.grow(proposal.slot)
        cron.claims += 1
        run = granted(proposal, fence=cron.claims, orphan=orphan.run if orphan else None, now=now)
        lease = now + timedelta(seconds=proposal.lease)
        self._store.lines.append(Line(run=run, lease=lease, recover=proposal.recover))
        self._bring_forward(lease)
        if orphan:
            orphan.waits = False
            self._trim(proposal.name)
        return claim_of(run)

    async def skip(self, skips: Sequence[Skip]) -> None:
        """See `Backend.skip`."""
        with self._store.lock:
            for skip in skips:
                highest = getattr(self._store.cron(skip.name), grows(skip))
                if highest is None or skip.slot > highest:
                    self._skip(skip)

    def _skip(self, skip: Skip, *, worker: str = "") -> None:
        cron, now = self._store.cron(skip.name), self._now()
        cron.skip(skip)
        newest = next(reversed(self._store.of(skip.name)), None)
        if newest and newest.run.reason == skip.reason:
            newest.run = merged(newest.run, skip, now=now)
            return
        self._store.lines.append(Line(run=skipped(skip, worker=worker, now=now)))
        self._trim(skip.name)

    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        """See `Backend.renew`."""
        with self._store.lock:
            until = self._now() + timedelta(seconds=lease)
            living = [line for claim in claims if (line := self._store.own(claim)) and line.lease]
            for line in living:
                line.lease = until
            return {line.run.run_id for line in living}

    async def finish(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> bool:
        """See `Backend.finish`."""
        with self._store.lock:
            line = self._store.own(claim)
            if line is None or line.run.outcome is not None:
                return False
            if not keep_lease:
                line.lease = None
            self._end(line, result)
            return True

    def _end(self, line: Line, result: Result) -> None:
        line.run = replace(
            line.run,
            outcome=result.outcome,
            ended=self._now(),
            error=kept(result.error),
            output=kept(result.output),
        )
        line.waits = line.recover and result.outcome in RECOVERABLE
        if line.waits:
            self._bring_forward()
        self._store.cron(line.run.name).failures += result.outcome is not Outcome.SUCCEEDED
        self._trim(line.run.name)

    async def release(self, claim: Claim) -> None:
        """See `Backend.release`."""
        with self._store.lock:
            line = self._store.own(claim)
            if line and line.run.outcome is not None:
                line.lease = None
                self._trim(claim.name)
            self._bring_forward()

    async def reap(self) -> Reaped:
        """See `Backend.reap`."""
        with self._store.lock:
            over = [line for line in self._store.lines if line.lease and line.lease <= self._now()]
            lost = [line for line in over if line.run.outcome is None]
            for line in over:
                line.lease = None
            for line in lost:
                self._end(line, Result(outcome=Outcome.LOST))
            for line in over:
                self._trim(line.run.name)
            orphans = [line.run for line in self._store.lines if line.waits]
            since = self._now() - timedelta(seconds=2 * self.cron_max_time)
            reset = [name for name, cron in self._store.crons.items() if cron.reset and cron.reset >= since]
            return Reaped(lost=[line.run for line in lost], orphans=orphans, reset=reset)

    async def pause(self, name: str) -> None:
        """See `Backend.pause`."""
        with self._store.lock:
            self._store.cron(name).paused = True
            self._bring_forward()

    async def resume(self, name: str) -> None:
        """See `Backend.resume`."""
        with self._store.lock:
            self._store.cron(name).paused = False
            self._bring_forward()

    async def history(self, name: str | None = None, *, limit: int = 20) -> Sequence[Run]:
        """See `Backend.history`."""
        with self._store.lock:
            lines = self._store.lines if name is None else self._store.of(name)
            return [line.run for line in reversed(lines)][:limit]

    async def timelines(self, names: Collection[str], *, limit: int = 20) -> Mapping[str, Sequence[Run]]:
        """See `Backend.timelines`."""
        with self._store.lock:
            found: dict[str, list[Run]] = {name: [] for name in names}
            for run in (line.run for line in reversed(self._store.lines)):
                if run.name in found and len(found[run.name]) < limit:
                    found[run.name].append(replace(run, error=None, output=None))
            return found

    async def reset(self, name: str, mark: datetime) -> None:
        """See `Backend.reset`."""
        with self._store.lock:
            cron = self._store.cron(name)
            cron.mark = cron.back = mark
            cron.reset = self._now()
            self._bring_forward()

    async def lingering(self) -> Sequence[Lingering]:
        """See `Backend.lingering`."""
        with self._store.lock:
            ended = [line.run for line in self._store.lines if line.lease and line.run.outcome is not None]
            runs = [
                Lingering(name=run.name, is_job=False, run_id=run.run_id, worker=run.worker, ended=run.ended)
                for run in ended
            ]
            return runs + [
                Lingering(name=job.task, is_job=True, run_id=job.job_id, worker=job.worker or "", ended=job.ended)
                for job in self._store.shelf.lingering()
            ]

    def _trim(self, name: str) -> None:
        """Forget all but the last `keep` settled runs and skips of a cron."""
        settled = [line for line in reversed(self._store.of(name)) if line.settled]
        runs = [line for line in settled if line.run.reason is None]
        skips = [line for line in settled if line.run.reason is not None]
        old = {line.run.run_id for line in runs[self._keep :] + skips[self._keep :]}
        self._store.lines = [line for line in self._store.lines if line.run.run_id not in old]
