"""Where jobs in memory are kept, and found again: by id, by key, running, or in the line of their like."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends.job_rules import (
    BATCH,
    Candidate,
    Picked,
    dropped,
    is_expired,
    is_in_use,
    is_seen,
    pick,
    rooms,
)
from pseudocron.backends.jobs import Job, JobState
from pseudocron.backends.memory.lines import Line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime


@dataclass(slots=True, eq=False)
class Kept:
    """A job, its place in the order in which jobs were stored, and its lease.

    `stop` says that it was cancelled while it ran, `over` that its attempt has ended and the lease is kept.
    """

    job: Job
    place: int
    lease: datetime | None = None
    stop: bool = False
    over: bool = False

    @property
    def name(self) -> tuple[str, str | None]:
        """What is unique among pending jobs, if the key is not None."""
        return self.job.task, self.job.key


class Timed(NamedTuple):
    """A job that waits for its time, or that ended then."""

    when: datetime
    place: int


@dataclass(slots=True)
class Shelf:
    """Every job, and where it is to be found: by its key, running, or in the line of those that are like it.

    `running` has all that have a lease, also a kept one. `seen` says when each task was last named by a process.
    """

    jobs: dict[str, Kept] = field(default_factory=dict)
    places: dict[int, Kept] = field(default_factory=dict)
    next_place: int = 0
    keys: dict[tuple[str, str | None], Kept] = field(default_factory=dict)
    running: dict[int, Kept] = field(default_factory=dict)
    scheduled: defaultdict[str, Line[Timed]] = field(default_factory=lambda: defaultdict(Line))
    ready: defaultdict[str, Line[Candidate[datetime]]] = field(default_factory=lambda: defaultdict(Line))
    ended: defaultdict[JobState, Line[Timed]] = field(default_factory=lambda: defaultdict(Line))
    lines: dict[int, tuple[Line[Any], tuple[Any, ...]]] = field(default_factory=dict)
    seen: dict[str, datetime] = field(default_factory=dict)

    def add(self, job: Job, now: datetime) -> None:
        """Store a new job."""
        kept = Kept(job, self.next_place)
        self.next_place += 1
        self.jobs[job.job_id] = self.places[kept.place] = kept
        self.put(kept, job, now)

    def put(self, kept: Kept, job: Job, now: datetime, *, goes_on: bool = False) -> None:
        """Store a job as it is now; `goes_on` if it has ended and keeps its lease."""
        self._take(kept)
        kept.job = job
        if job.state is JobState.RUNNING:
            self.running[kept.place] = kept
            return
        kept.stop, kept.over = False, kept.over or goes_on
        if not kept.over:
            self.end_lease(kept)
        if job.state is JobState.PENDING and job.key is not None:
            self.keys[kept.name] = kept
        line, item = self._line(kept, now)
        line.join(item)
        self.lines[kept.place] = line, item

    def _line(self, kept: Kept, now: datetime) -> tuple[Line[Any], tuple[Any, ...]]:
        job, place = kept.job, kept.place
        if job.state is not JobState.PENDING:
            return self.ended[job.state], Timed(job.ended or now, place)
        if job.due > now:
            return self.scheduled[job.task], Timed(job.due, place)
        return self.ready[job.task], Candidate(-job.priority, job.due, place, job.task, job.key, job.expires)

    def end_lease(self, kept: Kept) -> None:
        """End the lease of a job, if it has one."""
        self.running.pop(kept.place, None)
        kept.lease, kept.over = None, False

    def _take(self, kept: Kept) -> None:
        if self.keys.get(kept.name) is kept:
            del self.keys[kept.name]
        if kept.place in self.lines:
            line, item = self.lines.pop(kept.place)
            line.leave(item)

    def purge(self, state: JobState, before: datetime, limit: int) -> int:
        """Forget at most `limit` jobs that ended in a state before an instant and have no lease; return how many."""
        line, read, old = self.ended[state], list[Timed](), list[Kept]()
        for item in line.served():
            read.append(item)
            if item.when >= before or len(old) == limit:
                break
            if item.place not in self.running:
                old.append(self.places[item.place])
        for item in read:
            line.join(item)
        for kept in old:
            self._take(kept)
            del self.jobs[kept.job.job_id], self.places[kept.place]
        return len(old)

    def holder(self, name: tuple[str, str | None], now: datetime) -> Kept | None:
        """Return the pending job with a task and key; one that has expired is recorded as such, and leaves the key."""
        kept = self.keys.get(name)
        if kept and is_expired(kept.job, now):
            self.put(kept, dropped(kept.job, JobState.EXPIRED, now), now)
            return None
        return kept

    def dropped_as(self, kept: Kept, now: datetime) -> JobState | None:
        """Return what a running job ends as if it is not wanted back; see `backends.jobs`."""
        if kept.stop:
            return JobState.CANCELLED
        return JobState.REPLACED if self.holder(kept.name, now) else None

    def lingering(self) -> list[Job]:
        """Return the jobs with a kept lease."""
        return [kept.job for kept in self.running.values() if kept.over]

    def count(self, state: JobState) -> int:
        """How many jobs are in a state."""
        if state is JobState.RUNNING:
            return len(self.running) - len(self.lingering())
        if state is JobState.PENDING:
            return sum(line.size for lines in (self.scheduled, self.ready) for line in lines.values())
        return self.ended[state].size

    def make_ready(self, task: str, now: datetime) -> None:
        """Move what has come due from the line of the scheduled to that of the ready."""
        line = self.scheduled[task]
        for _ in range(BATCH):
            if line.first is None or line.first.when > now:
                return
            kept = self.places[line.first.place]
            self.put(kept, kept.job, now)

    def pick(self, tasks: Mapping[str, int | None], *, limit: int, now: datetime) -> Picked[datetime]:
        """What a claim is to start, and to let expire; it goes on standing in its line."""
        room = rooms(tasks, Counter(kept.job.task for kept in self.running.values()))
        for task in room:
            self.make_ready(task, now)
        busy = {kept.name for kept in self.running.values() if kept.job.key is not None}
        read: list[Candidate[datetime]] = []
        lines = {task: self._read(task, read) for task in room}
        picked = pick(lines, room, busy, limit=limit, now=now)
        for candidate in read:
            self.ready[candidate.task].join(candidate)
        return picked

    def _read(self, task: str, read: list[Candidate[datetime]]) -> Iterator[Candidate[datetime]]:
        for candidate in self.ready[task].served():
            read.append(candidate)
            if candidate.place not in self.running:
                yield candidate

    # When the next is due

    def see(self, tasks: Iterable[str], now: datetime, cron_max_time: float) -> set[str]:
        """Remember that these tasks are in use; return those that were not."""
        ages = {task: (now - self.seen[task]).total_seconds() if task in self.seen else inf for task in tasks}
        self.seen |= {task: now for task, age in ages.items() if not is_seen(age, cron_max_time)}
        return {task for task, age in ages.items() if not is_in_use(age, cron_max_time)}

    def first_due(self, tasks: Collection[str], now: datetime) -> datetime | None:
        """Return when the first job of these tasks that may start is due, whatever their limits."""
        busy = {kept.name for kept in self.running.values() if kept.job.key is not None}
        ready = (self._first_due(self.ready[task], busy) for task in tasks if task in self.ready)
        scheduled = (self._first_due(self.scheduled[task], busy) for task in tasks if task in self.scheduled)
        # What is ready stays so, though the clock has been set back since.
        return min((*(min(due, now) for due in ready if due), *(due for due in scheduled if due)), default=None)

    def _first_due(self, line: Line[Any], busy: Collection[tuple[str, str | None]]) -> datetime | None:
        read, due = [], None
        for item in line.served():
            read.append(item)
            kept = self.places[item.place]
            if kept.place not in self.running and kept.name not in busy:
                due = kept.job.due
                break
        for item in read:
            line.join(item)
        return due

    def next_due(self, tasks: Mapping[str, int | None], now: datetime, cron_max_time: float) -> datetime | None:
        """Return when the first job is due that may start, or the first lease ends; see `Queue.next_due`."""
        room = rooms(tasks, Counter(kept.job.task for kept in self.running.values()))
        others = {task for task, seen in self.seen.items() if is_in_use((now - seen).total_seconds(), cron_max_time)}
        first = self.first_due(room.keys() | others - tasks.keys(), now)
        leases = (kept.lease for kept in self.running.values())
        return min((moment for moment in (first, *leases) if moment), default=None)
