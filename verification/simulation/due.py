"""What a store has to have started by now, as far as what it has answered tells: slots, jobs, lost runs, leases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends.jobs import JobState
from pseudocron.backends.records import Claim, Outcome, Reason, Refusal

if TYPE_CHECKING:
    from verification.simulation.history import Event
    from verification.simulation.scenario import Application, Cron

IN_USE = 2
"""A task is in use for so many `CRON_MAX_TIME` since a process has named it; jobs of others wait for any poll."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(IntEnum):
    """What a process needs for it: capacity for crons or for jobs, or for anything at all."""

    CRON = auto()
    JOB = auto()
    LEASE = auto()


class Item(NamedTuple):
    """Something that some process has to start, or a lease that one has to end.

    Args:
        kind: What a process needs for it.
        name: The cron or task; not every process may have it.
        identity: The slot, the run, or the job with its latest fence.
    """

    kind: Kind
    name: str
    identity: tuple[object, ...]

    def __str__(self) -> str:
        return f"{self.kind.name.lower()} of {self.name}, {' '.join(map(str, self.identity))}"


@dataclass(slots=True)
class _Job:
    task: str
    key: str | None
    due: datetime
    expires: datetime | None
    until: datetime | None = None
    """The end of its lease, while it runs."""

    fence: int = 0


@dataclass(slots=True)
class _Cron:
    spec: Cron
    mark: datetime | None = None
    leases: dict[str, datetime] = field(default_factory=dict)
    orphans: dict[str, datetime] = field(default_factory=dict)
    """The slots of the runs that wait to be recovered."""

    def grow(self, slot: datetime) -> None:
        self.mark = max(self.mark or slot, slot)

    @property
    def has_instance(self) -> bool:
        return len(self.leases) < int(self.spec.options.get("max_instances", 1))

    def next(self) -> tuple[datetime, datetime] | None:
        """The first slot above the mark, and when its jitter is over for certain."""
        if self.mark is None:
            return None
        every = timedelta(seconds=self.spec.every)
        slot = EPOCH + ((self.mark - EPOCH) // every + 1) * every
        return slot, slot + timedelta(seconds=self.spec.options.get("jitter", 0.0))


class Stored:
    """The part of a store's state that says what is due.

    Args:
        application: What there is to run.
    """

    def __init__(self, application: Application) -> None:
        self._crons = {cron.name: _Cron(cron) for cron in application.crons}
        self._limits = {job.name: job.options.get("max_instances") for job in application.jobs}
        self._jobs: dict[str, _Job] = {}
        self._seen: dict[str, datetime] = {}
        self._used_for = timedelta(seconds=IN_USE * application.cron_max_time)

    def read(self, event: Event) -> bool:
        """Apply what a verb has done; whether that may have changed anything."""
        apply = getattr(self, f"_on_{event.what}", None)
        if apply is None or isinstance(event.got, Exception):
            return False
        apply(event)
        return True

    def items(self, now: datetime) -> Iterator[tuple[Item, datetime]]:
        """What may start when its time has come, and when that is."""
        for name, cron in self._crons.items():
            yield from self._of_cron(name, cron)
        running = [job for job in self._jobs.values() if job.until]
        busy = {(job.task, job.key) for job in running if job.key is not None}
        full = {
            task for task, most in self._limits.items() if most and sum(job.task == task for job in running) >= most
        }
        for job_id, job in self._jobs.items():
            if job.until:
                yield Item(Kind.LEASE, job.task, (job_id, job.fence)), job.until
            elif self._in_use(job.task, now) and job.task not in full and (job.task, job.key) not in busy:
                yield Item(Kind.JOB, job.task, (job_id, job.fence)), job.due

    def _in_use(self, task: str, now: datetime) -> bool:
        return task in self._seen and now - self._seen[task] <= self._used_for

    def _of_cron(self, name: str, cron: _Cron) -> Iterator[tuple[Item, datetime]]:
        if (following := cron.next()) and (cron.spec.options["coalesce"] or cron.has_instance):
            yield Item(Kind.CRON, name, following), following[1]
        for run_id, until in cron.leases.items():
            yield Item(Kind.LEASE, name, (run_id,)), until
        if cron.has_instance:
            for run_id, slot in cron.orphans.items():
                yield Item(Kind.CRON, name, (run_id,)), slot

    def expire(self, now: datetime) -> None:
        """Forget the jobs that it is too late to start, also if the clock is set back later."""
        over = [job_id for job_id, job in self._jobs.items() if job.expires and job.expires < now and not job.until]
        for job_id in over:
            del self._jobs[job_id]

    # Crons

    def _on_states(self, event: Event) -> None:
        for name, state in event.got.items():
            self._crons[name].mark = self._crons[name].mark or state.mark

    def _on_claim(self, event: Event) -> None:
        proposal, got = event.given[0], event.got
        cron = self._crons[proposal.name]
        if isinstance(got, Claim) or got in {Refusal.TAKEN, Refusal.EARLY}:  # early: it waits for any poll
            cron.orphans.pop(proposal.recovers, None)
        if isinstance(got, Claim):
            cron.leases[got.run_id] = event.clock + timedelta(seconds=proposal.lease)
        if proposal.recovers is None and (isinstance(got, Claim) or got in {Refusal.OVERLAP, Refusal.PAUSED}):
            cron.grow(proposal.slot)

    def _on_skip(self, event: Event) -> None:
        for skip in event.given[0]:
            if skip.reason is not Reason.CLOCK_BACK:
                self._crons[skip.name].grow(skip.slot)

    def _on_renew(self, event: Event) -> None:
        claims, lease = event.given
        for claim in claims:
            if claim.run_id in event.got:
                self._crons[claim.name].leases[claim.run_id] = event.clock + timedelta(seconds=lease)

    def _on_finish(self, event: Event) -> None:
        claim, result = event.given[:2]
        if event.got:
            self._over(claim, comes_back=result.outcome is Outcome.INTERRUPTED)

    def _on_reap(self, event: Event) -> None:
        for run in event.got.lost:
            self._over(run, comes_back=True)

    def _over(self, run: Any, *, comes_back: bool) -> None:
        cron = self._crons[run.name]
        cron.leases.pop(run.run_id, None)
        if comes_back and cron.spec.options["at_least_once"]:
            cron.orphans[run.run_id] = run.slot

    # Jobs

    def _on_defer(self, event: Event) -> None:
        self._seen |= {new.task: event.clock for new in event.given[0]}
        for new, job_id in zip(event.given[0], event.got, strict=True):
            if job_id == new.job_id:
                self._forget(new.task, new.key)
                self._jobs[job_id] = _Job(new.task, new.key, new.due, new.expires)

    def _forget(self, task: str, key: str | None) -> None:
        """Of a key there is one pending job at most."""
        same = [job_id for job_id, job in self._jobs.items() if key is not None and (job.task, job.key) == (task, key)]
        for job_id in same:
            if not self._jobs[job_id].until:
                del self._jobs[job_id]

    def _on_cancel(self, event: Event) -> None:
        job_id, task, key = event.given
        if event.got and job_id is not None:
            self._jobs.pop(job_id, None)
        elif event.got:
            self._forget(task, key)

    def _on_claim_jobs(self, event: Event) -> None:
        self._seen |= dict.fromkeys(event.given[0], event.clock) if event.given[1] else {}
        until = event.clock + timedelta(seconds=event.given[-1])
        for claim in event.got:
            if job := self._jobs.get(claim.job_id):
                job.until, job.fence = until, claim.fence

    def _on_renew_jobs(self, event: Event) -> None:
        claims, lease = event.given
        for claim in claims:
            if claim.job_id in event.got and claim.job_id in self._jobs:
                self._jobs[claim.job_id].until = event.clock + timedelta(seconds=lease)

    def _on_finish_jobs(self, event: Event) -> None:
        for (claim, end), state in zip(event.given[0], event.got, strict=True):
            if state is not None:
                self._ended(claim.job_id, state, end.due or event.clock)

    def _on_reap_jobs(self, event: Event) -> None:
        for job in event.got:
            self._ended(job.job_id, job.state, event.clock)

    def _ended(self, job_id: str, state: JobState, due: datetime) -> None:
        job = self._jobs.pop(job_id, None)
        if job is not None and state is JobState.PENDING:
            job.until, job.due = None, due
            self._jobs[job_id] = job
