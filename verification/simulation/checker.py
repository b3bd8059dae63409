"""States whether a history kept the promises; knows what happened, and nothing of how that came about."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from pseudocron.backends.jobs import JobState
from pseudocron.backends.records import Claim, Outcome
from verification.simulation.availability import POLL
from verification.simulation.gate_rules import check_gate
from verification.simulation.history import BEGINNING
from verification.simulation.lateness import ENFORCED, Lateness
from verification.simulation.rules import Rule, Violation
from verification.simulation.slot_rules import check_slots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from verification.simulation.history import Event
    from verification.simulation.scenario import Application

RECORD_WITHIN, RECOVERS_WITHIN = 1.0, 5.0
"""Seconds from the end of some code to its record, and from the end of a fault to the last that comes of it."""

FINAL = frozenset(JobState) - {JobState.PENDING, JobState.RUNNING}


@dataclass(slots=True)
class _Run:
    """A claim of a cron's slot or of a job, and its lease by what the store has said."""

    name: str
    fence: int
    who: int
    until: datetime
    since: float
    ended: bool = False


@dataclass(slots=True)
class _Job:
    """A job, as far as what the store has said tells."""

    task: str
    key: str | None
    expires: datetime | None
    state: JobState = JobState.PENDING
    fence: int = 0
    mark: JobState | None = None
    losses: int = 0
    dropped: bool = False


@dataclass(slots=True)
class Checker:
    """Reads a history once, from its beginning.

    Args:
        application: What there was to run.
        timely: Whether what is late is reported.
    """

    application: Application
    timely: bool = ENFORCED
    violations: list[Violation] = field(default_factory=list)
    _runs: dict[str, _Run] = field(default_factory=dict)
    _fences: dict[str, int] = field(default_factory=dict)
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _did: dict[tuple[str, int], float] = field(default_factory=dict)
    _recorded: dict[str, float] = field(default_factory=dict)
    _able: dict[int, frozenset[str]] = field(default_factory=dict)
    _trouble: dict[int, float] = field(default_factory=lambda: defaultdict(lambda: -1e9))
    _latest: datetime = BEGINNING
    _number: int = 0

    def read(self, history: Iterable[Event]) -> list[Violation]:
        """What was not kept, the earliest first."""
        events = list(history)
        for self._number, event in enumerate(events):
            self._latest = max(self._latest, event.clock)  # what has come due stays so if the clock is set back
            if not isinstance(event.got, Exception):
                getattr(self, f"_on_{event.what}", self._pass)(event)
        found = [*self.violations, *check_gate(events), *check_slots(events, self.application)]
        if self.timely:
            found += Lateness(self.application).check(events)
        return sorted(found, key=lambda one: one.number)

    def _pass(self, event: Event) -> None:
        """Nothing follows from it, but for what goes wrong in its process."""
        if event.what in {"crash", "stop", "pause", "block", "cut", "lose", "slow", "died"}:
            size = event.given[0] if event.given else 0.0
            self._trouble[event.who] = max(self._trouble[event.who], event.at + (size if event.what != "died" else 1e9))
        if event.what == "crash":
            self._trouble[event.who] = 1e9  # it dies within some steps

    def _on_store_clock(self, event: Event) -> None:
        self._trouble[-1] = event.at

    def _on_able(self, event: Event) -> None:
        tasks, executes = event.given
        self._able[event.who] = frozenset((*tasks, *(cron.name for cron in self.application.crons)) if executes else ())

    def _can(self, event: Event, name: str) -> None:
        self._must(name in self._able.get(event.who, {name}), Rule.ABLE, event)

    def _must(self, kept: object, rule: Rule, what: object) -> None:
        if not kept:
            self.violations.append(Violation(rule, str(what), self._number))

    # Slots

    def _on_claim(self, event: Event) -> None:
        (proposal,) = event.given
        if not isinstance(event.got, Claim):
            return
        claim = event.got
        self._can(event, claim.name)
        cron = next(cron for cron in self.application.crons if cron.name == claim.name)
        self._must(claim.slot <= event.clock, Rule.SLOT_NOT_EARLY, claim)
        self._must(claim.fence > self._fences.get(claim.name, 0), Rule.FENCES_GROW, claim)
        self._fences[claim.name] = max(claim.fence, self._fences.get(claim.name, 0))
        living = sum(not run.ended for run in self._runs.values() if run.name == claim.name)
        self._must(living < cron.options.get("max_instances", 1), Rule.MAX_INSTANCES, claim)
        until = event.clock + timedelta(seconds=proposal.lease)
        self._runs[claim.run_id] = _Run(claim.name, claim.fence, event.who, until, event.at)

    def _on_renew(self, event: Event) -> None:
        self._renewed(event, "run_id")

    def _on_renew_jobs(self, event: Event) -> None:
        self._renewed(event, "job_id")

    def _renewed(self, event: Event, identity: str) -> None:
        claims, lease = event.given
        for claim in claims:
            self._must(not self._over(event, claim, identity), Rule.RENEWED, claim)
            run = self._runs.get(_identity(claim, identity))
            if getattr(claim, identity) in event.got and run:
                self._must(not run.ended, Rule.LEASE_OVER, claim)
                run.until, run.since = event.clock + timedelta(seconds=lease), event.at

    def _over(self, event: Event, claim: Any, identity: str) -> bool:
        """Whether a process that is well must know by now that a run needs no lease any more."""
        did = self._did.get((getattr(claim, identity), claim.fence), inf)
        over = min(self._recorded.get(_identity(claim, identity), inf) + POLL, did + RECORD_WITHIN)
        return over < event.at and self._trouble[event.who] + RECOVERS_WITHIN < min(over, did)

    def _on_finish(self, event: Event) -> None:
        claim, result = event.given[:2]
        self._recorded.setdefault(claim.run_id, event.at)
        run = self._runs.get(claim.run_id)
        if event.got and run:
            self._must(not run.ended, Rule.NO_LATE_HOLDER, claim)
            self._must(
                result.outcome is not Outcome.SUCCEEDED or (claim.run_id, claim.fence) in self._did,
                Rule.DONE,
                claim,
            )
            run.ended = True

    def _on_release(self, event: Event) -> None:
        self._runs[event.given[0].run_id].ended = True

    def _on_reap(self, event: Event) -> None:
        for lost in event.got.lost:
            self._lost(event, self._runs[lost.run_id], lost.run_id)

    def _lost(self, event: Event, run: _Run, what: str) -> None:
        self._must(run.until <= event.clock, Rule.LEASE_IN_FULL, what)
        healthy = max(self._trouble[run.who], self._trouble[-1]) < run.since
        self._must(not healthy, Rule.LEASE_KEPT, what)
        run.ended = True

    # Jobs

    def _on_defer(self, event: Event) -> None:
        jobs, *_ = event.given
        for new, job_id in zip(jobs, event.got, strict=True):
            if job_id != new.job_id:  # the older one is kept
                continue
            for other in self._with(new.task, new.key):
                self._drop(other, JobState.REPLACED)
            self._jobs[new.job_id] = _Job(new.task, new.key, new.expires)

    def _with(self, task: str, key: str | None) -> Iterator[_Job]:
        return (job for job in self._jobs.values() if key is not None and (job.task, job.key) == (task, key))

    def _drop(self, job: _Job, state: JobState) -> None:
        """It is not wanted any more: from here on nobody may start it."""
        if job.state is JobState.RUNNING and state is JobState.REPLACED:
            return  # it may come back, if the newer one is gone when it ends
        job.dropped = job.state not in FINAL or job.dropped
        if job.state is JobState.PENDING:
            job.state = state
        elif job.state is JobState.RUNNING:
            job.mark = state

    def _on_cancel(self, event: Event) -> None:
        job_id, task, key = (*event.given, None, None)[:3] if len(event.given) == 3 else (None, None, None)
        found = [self._jobs[job_id]] if job_id in self._jobs else list(self._with(task or "", key))
        pending = [job for job in found if job.state is JobState.PENDING]
        may_be_over = any(job.expires and job.expires < self._latest for job in pending)
        self._must(event.got is bool(pending) or may_be_over, Rule.CANCEL_ANSWERS, event)
        for job in found:
            self._drop(job, JobState.CANCELLED)

    def _on_deferred(self, event: Event) -> None:
        (job_id,) = event.given
        self._must(job_id in self._jobs, Rule.JOB_STORED, job_id)

    def _on_claim_jobs(self, event: Event) -> None:
        lease = event.given[-1]
        for claim in event.got:
            self._can(event, claim.task)
            job = self._jobs[claim.job_id]
            self._must(job.state is JobState.PENDING or job.dropped, Rule.JOB_ONCE, claim)
            self._must(not job.dropped, Rule.NOT_WANTED, claim)
            self._must(claim.fence > job.fence, Rule.FENCES_GROW, claim)
            self._must(claim.due <= self._latest, Rule.JOB_NOT_EARLY, claim)
            beside = [other for other in self._with(job.task, job.key) if other.state is JobState.RUNNING]
            self._must(not beside, Rule.ONE_OF_A_KEY, claim)
            job.state, job.fence = JobState.RUNNING, claim.fence
            until = event.clock + timedelta(seconds=lease)
            self._runs[_identity(claim, "job_id")] = _Run(claim.task, claim.fence, event.who, until, event.at)
        for spec in self.application.jobs:
            running = sum(job.state is JobState.RUNNING for job in self._jobs.values() if job.task == spec.name)
            most = spec.options.get("max_instances")
            self._must(most is None or running <= most, Rule.MAX_INSTANCES, spec.name)

    def _on_finish_jobs(self, event: Event) -> None:
        (ends,) = event.given
        for (claim, end), state in zip(ends, event.got, strict=True):
            self._recorded.setdefault(_identity(claim, "job_id"), event.at)
            if state is None:
                continue
            job, run = self._jobs[claim.job_id], self._runs[_identity(claim, "job_id")]
            self._must(job.state is JobState.RUNNING and job.fence == claim.fence, Rule.NO_LATE_HOLDER, claim)
            dropped = end.state is not JobState.SUCCEEDED and self._dropped_as(job, event)
            wanted = dropped or end.state
            self._must(state is wanted, Rule.ENDS_AS_SAID, (claim, state))
            did = (claim.job_id, claim.fence) in self._did
            self._must(state is not JobState.SUCCEEDED or did, Rule.DONE, claim)
            spec = next(spec for spec in self.application.jobs if spec.name == job.task)
            tries = claim.attempt > spec.options["retries"]
            self._must(state is not JobState.FAILED or tries, Rule.RETRIED, claim)
            job.state, run.ended = state, True

    def _on_reap_jobs(self, event: Event) -> None:
        for lost in event.got:
            job, run = self._jobs[lost.job_id], self._runs[f"{lost.job_id}/{lost.fence}"]
            self._lost(event, run, lost.job_id)
            job.losses += 1
            wanted = self._dropped_as(job, event) or (JobState.FAILED if job.losses >= 3 else JobState.PENDING)
            self._must(lost.state is wanted, Rule.COMES_BACK, lost)
            job.state = lost.state

    def _dropped_as(self, job: _Job, event: Event) -> JobState | None:
        newer = [one for one in self._with(job.task, job.key) if one is not job and one.state is JobState.PENDING]
        wanted = [one for one in newer if one.expires is None or one.expires >= event.clock]
        return job.mark or (JobState.REPLACED if wanted else None)

    # Code

    def _on_began(self, event: Event) -> None:
        name, identity, fence = event.given
        run = self._runs.get(identity) or self._runs.get(f"{identity}/{fence}")
        self._must(run and run.name == name, Rule.CLAIMED, event)

    def _on_did(self, event: Event) -> None:
        self._did[event.given[1:]] = event.at

    def _on_uncaught(self, event: Event) -> None:
        self._must(not event.got, Rule.CAUGHT, event.got)

    # The end

    def _on_settled(self, event: Event) -> None:
        self._must(event.got, Rule.ALL_ENDS, "jobs are left")
        patience = timedelta(seconds=self.application.cron_max_time + 5)
        for identity, run in self._runs.items():
            self._must(run.ended or run.until + patience > event.clock, Rule.LEASE_ENDED, identity)

    def _on_left(self, event: Event) -> None:
        """What the store has of each job in the end."""
        stored: dict[str, JobState] = dict(event.got)
        for job_id, job in self._jobs.items():
            state = stored.get(job_id)
            self._must(state is not None, Rule.JOB_KEPT, job_id)
            never = job.state in {JobState.PENDING, JobState.REPLACED, JobState.CANCELLED}
            expired = state is JobState.EXPIRED and never and job.expires is not None
            self._must(state in {None, job.state} or expired, Rule.STATE, (job_id, state, job.state))


def _identity(claim: Any, identity: str) -> str:
    """Of a job each attempt is another run."""
    return claim.run_id if identity == "run_id" else f"{claim.job_id}/{claim.fence}"
