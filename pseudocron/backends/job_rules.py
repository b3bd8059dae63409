"""What both queues decide alike: which jobs start, in which order, and what becomes of one that ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from heapq import merge
from math import inf
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from pseudocron.backends.jobs import Job, JobClaim, JobState, Queue
from pseudocron.errors import JobConflictError, show
from pseudocron.truncation import kept

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pseudocron.backends.jobs import JobEnd, NewJob

BATCH = 100
"""How many jobs of a task become ready, and how many expire, in one claim at most."""

IN_USE_FOR, SEEN_AGAIN = 2.0, 0.25
"""The parts of `cron_max_time` for which a task stays in use, and after which that is written again."""

UNFINISHED = frozenset({JobState.PENDING, JobState.RUNNING})

Moment = TypeVar("Moment", int, datetime)


class Candidate(NamedTuple, Generic[Moment]):
    """A job that is ready; they compare in the order in which they start.

    Args:
        rank: Its priority, negated.
        due: When it was due.
        place: In the order in which jobs were stored; no two have the same.
        task: Its task.
        key: Its key.
        expires: Not after this instant.
    """

    rank: int
    due: Moment
    place: int
    task: str
    key: str | None
    expires: Moment | None


class Picked(NamedTuple, Generic[Moment]):
    """The jobs to start, and those for which it is too late."""

    due: list[Candidate[Moment]]
    expired: list[Candidate[Moment]]

    @property
    def is_cut_short(self) -> bool:
        """Whether there was no look at what is behind so many expired jobs."""
        return len(self.expired) == BATCH


class Claims(list[JobClaim]):
    """What one call of `claim_jobs` has claimed.

    Args:
        claims: The claims.
        is_cut_short: Whether the call ended after so many expired jobs that it has not seen which others may start.
    """

    def __init__(self, claims: Iterable[JobClaim] = (), *, is_cut_short: bool = False) -> None:
        super().__init__(claims)
        self.is_cut_short = is_cut_short


def rooms(tasks: Mapping[str, int | None], living: Mapping[str, int]) -> dict[str, float]:
    """How many more jobs of each task may run; those of which none may are left out."""
    left = {task: inf if most is None else most - living.get(task, 0) for task, most in tasks.items()}
    return {task: room for task, room in left.items() if room > 0}


def pick(
    lines: Mapping[str, Iterator[Candidate[Moment]]],
    room: dict[str, float],
    busy: Collection[tuple[str, str | None]],
    *,
    limit: int,
    now: Moment,
) -> Picked[Moment]:
    """What to start of the jobs that are ready; `Queue.claim_jobs` is the source of the rules.

    Args:
        lines: The ready jobs of each task, in order; read no further than needed.
        room: How many more jobs of each task may run; what is picked is taken off.
        busy: The tasks and keys of the jobs that are running.
        limit: How many jobs to start, at least one.
        now: The backend's clock.
    """
    picked: Picked[Moment] = Picked([], [])
    for job in merge(*(_while_room(line, task, room) for task, line in lines.items())):
        if job.expires is not None and job.expires < now:
            picked.expired.append(job)
        elif (job.task, job.key) not in busy:
            picked.due.append(job)
            room[job.task] -= 1
        if len(picked.due) == limit or picked.is_cut_short:
            break
    return picked


def _while_room(line: Iterator[Candidate[Moment]], task: str, room: Mapping[str, float]) -> Iterator[Candidate[Moment]]:
    while room[task] > 0 and (job := next(line, None)):
        yield job


def is_in_use(age: float, cron_max_time: float) -> bool:
    """Return whether a task that was last seen so many seconds ago is in use; see `Queue.claim_jobs`."""
    return age <= IN_USE_FOR * cron_max_time


def is_seen(age: float, cron_max_time: float) -> bool:
    """Return whether it need not be written again that a task is in use; after a step of the clock it is."""
    return 0 <= age < SEEN_AGAIN * cron_max_time


def is_expired(job: Job, now: datetime) -> bool:
    """Return whether it is too late to start a job."""
    return job.expires is not None and job.expires < now


def stored(new: NewJob, now: datetime) -> Job:
    """A job as it is first stored."""
    return Job(
        job_id=new.job_id,
        task=new.task,
        arguments=new.arguments,
        state=JobState.PENDING,
        due=new.due,
        created=now,
        key=new.key,
        priority=new.priority,
        expires=new.expires,
    )


def taken(new: NewJob, by: str) -> JobConflictError:
    """The error for a job whose key the pending job `by` has."""
    return JobConflictError(
        f"task {show(new.task)}: key {show(new.key)} is taken by pending job {show(by)}, "
        f"cancel that or defer with on_conflict='replace' or 'keep'"
    )


def claimed(job: Job, worker: str, now: datetime) -> Job:
    """A pending job that is started."""
    return replace(
        job,
        state=JobState.RUNNING,
        attempts=job.attempts + 1,
        fence=job.fence + 1,
        worker=worker,
        started=now,
        ended=None,
    )


def claim_of(job: Job, started: datetime) -> JobClaim:
    """The claim of a job that runs."""
    return JobClaim(
        job_id=job.job_id,
        task=job.task,
        arguments=job.arguments,
        key=job.key,
        due=job.due,
        fence=job.fence,
        attempt=job.attempts,
        started=started,
        unfit_since=job.unfit_since,
    )


def finished(job: Job, end: JobEnd, dropped_as: JobState | None, now: datetime) -> Job:
    """Return a running job whose attempt has ended.

    Args:
        job: The job, running.
        end: How the attempt ended.
        dropped_as: `CANCELLED` or `REPLACED` if it is not wanted back; see `backends.jobs`.
        now: The backend's clock.
    """
    job = replace(
        job,
        ended=now,
        attempts=job.attempts - (not end.counts),
        error=kept(end.error) or job.error,
        unfit_since=(job.unfit_since or now) if end.unfit else None,
    )
    if dropped_as is not None and end.state is not JobState.SUCCEEDED:
        return dropped(job, dropped_as, now)
    if end.state is JobState.PENDING:
        return replace(job, state=end.state, due=end.due or now)
    return replace(job, state=end.state, reason=end.reason)


def lost(job: Job, dropped_as: JobState | None, now: datetime) -> Job:
    """Return a running job whose lease is over; see `finished`."""
    job = replace(job, ended=now, lost=job.lost + 1, unfit_since=None)
    if dropped_as is not None:
        return dropped(job, dropped_as, now)
    if job.lost >= Queue.lost_at_most:
        return replace(job, state=JobState.FAILED, reason=f"lost {job.lost} times")
    return replace(job, state=JobState.PENDING, due=now)


REASONS = {
    JobState.CANCELLED: "on request",
    JobState.REPLACED: "by a newer job",
    JobState.EXPIRED: "not started in time",
}


def dropped(job: Job, state: JobState, now: datetime) -> Job:
    """A job that is not started any more."""
    return replace(job, state=state, ended=now, reason=REASONS[state])


def revived(job: Job, now: datetime) -> Job:
    """A failed job that is to be tried again; see `Queue.retry`."""
    return replace(
        job,
        state=JobState.PENDING,
        due=now,
        expires=None,
        attempts=0,
        lost=0,
        reason=None,
        unfit_since=None,
    )
