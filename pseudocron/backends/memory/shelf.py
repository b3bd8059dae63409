"""Where jobs in memory are kept, and found again: by id, by key, running, or in the line of their like."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends.job_rules import BATCH, Candidate, Picked, pick, rooms
from pseudocron.backends.jobs import Job, JobState
from pseudocron.backends.memory.lines import Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime


@dataclass(slots=True, eq=False)
class Kept:
    """A job, its place in the order in which jobs were stored, its lease, and what it is to end as."""

    job: Job
    place: int
    lease: datetime | None = None
    mark: JobState | None = None

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
    """Every job, and where it is to be found: by its key, running, or in the line of those that are like it."""

    jobs: dict[str, Kept] = field(default_factory=dict)
    places: dict[int, Kept] = field(default_factory=dict)
    next_place: int = 0
    keys: dict[tuple[str, str | None], Kept] = field(default_factory=dict)
    running: dict[int, Kept] = field(default_factory=dict)
    scheduled: defaultdict[str, Line[Timed]] = field(default_factory=lambda: defaultdict(Line))
    ready: defaultdict[str, Line[Candidate[datetime]]] = field(default_factory=lambda: defaultdict(Line))
    ended: defaultdict[JobState, Line[Timed]] = field(default_factory=lambda: defaultdict(Line))
    lines: dict[int, tuple[Line[Any], tuple[Any, ...]]] = field(default_factory=dict)

    def add(self, job: Job, now: datetime) -> None:
        """Store a new job."""
        kept = Kept(job, self.next_place)
        self.next_place += 1
        self.jobs[job.job_id] = self.places[kept.place] = kept
        self.put(kept, job, now)

    def put(self, kept: Kept, job: Job, now: datetime) -> None:
        """Let a job be as it is now, and stand where it belongs."""
        self._take(kept)
        kept.job = job
        if job.state is JobState.RUNNING:
            self.running[kept.place] = kept
            return
        kept.lease = kept.mark = None
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

    def _take(self, kept: Kept) -> None:
        self.running.pop(kept.place, None)
        if self.keys.get(kept.name) is kept:
            del self.keys[kept.name]
        if kept.place in self.lines:
            line, item = self.lines.pop(kept.place)
            line.leave(item)

    def forget(self, kept: Kept) -> None:
        """Keep a job no more."""
        self._take(kept)
        del self.jobs[kept.job.job_id], self.places[kept.place]

    def mark(self, name: tuple[str, str | None], state: JobState) -> None:
        """Let what runs with a task and key end so, unless it succeeds; the first mark stays."""
        for kept in self.running.values():
            if name[1] is not None and kept.name == name:
                kept.mark = kept.mark or state

    def count(self, state: JobState) -> int:
        """How many jobs are in a state."""
        if state is JobState.RUNNING:
            return len(self.running)
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
        lines = {task: _read(self.ready[task], read) for task in room}
        picked = pick(lines, room, busy, limit=limit, now=now)
        for candidate in read:
            self.ready[candidate.task].join(candidate)
        return picked


def _read(line: Line[Candidate[datetime]], read: list[Candidate[datetime]]) -> Iterator[Candidate[datetime]]:
    for candidate in line.served():
        read.append(candidate)
        yield candidate
