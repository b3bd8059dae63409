"""The queue against a plain model: whatever is done to it in whatever order, both tell the same."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from backends.desk import Desk
from backends.worlds import LEASE, STORES, World
from pseudocron.backends.jobs import Conflict, JobClaim, JobState
from pseudocron.errors import JobConflictError

SECOND = timedelta(seconds=1)
KEEP = {JobState.SUCCEEDED: 40 * SECOND, JobState.FAILED: 80 * SECOND, JobState.REPLACED: 20 * SECOND}
TASKS = ("mail", "bill")


@dataclass
class Modelled:
    """A job as the model knows it."""

    job_id: str
    place: int
    task: str
    key: str | None
    due: datetime
    priority: int
    expires: datetime | None
    state: JobState = JobState.PENDING
    attempts: int = 0
    lost: int = 0
    fence: int = 0
    lease: datetime | None = None
    ended: datetime | None = None
    mark: JobState | None = None

    def over(self, state: JobState, now: datetime) -> None:
        self.state, self.ended, self.lease = state, now, None

    def again(self, due: datetime, now: datetime) -> None:
        self.over(JobState.PENDING, now)
        self.due = due

    @property
    def told(self) -> tuple[object, ...]:
        return self.job_id, self.state, self.due, self.attempts, self.lost, self.fence, self.ended


class Model(RuleBasedStateMachine):
    """Drives a backend and a list of jobs alike."""

    store: str

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(make=STORES[self.store](self.folder), runner=asyncio.Runner())
        self.desk = Desk(self.world)
        self.all: list[Modelled] = []
        self.claims: list[JobClaim] = []
        self.world.another()

    def teardown(self) -> None:
        self.world.do(self.world.backend.close())
        self.world.runner.close()
        shutil.rmtree(self.folder)

    def of(self, state: JobState, task: str | None = None, key: str | None = None) -> list[Modelled]:
        named = (job for job in self.all if task is None or (job.task, job.key) == (task, key))
        return [job for job in named if job.state is state]

    def known(self, job_id: str) -> Modelled | None:
        return next((job for job in self.all if job.job_id == job_id), None)

    @rule(
        task=st.sampled_from(TASKS),
        key=st.sampled_from([None, "a", "b"]),
        conflict=st.sampled_from(Conflict),
        delay=st.integers(-2, 4),
        priority=st.integers(0, 2),
        expires=st.none() | st.integers(0, 60),
    )
    def defer(
        self, task: str, key: str | None, conflict: Conflict, delay: int, priority: int, expires: int | None
    ) -> None:
        now = self.world.now
        options: dict[str, Any] = {
            "task": task,
            "due": now + delay * SECOND,
            "priority": priority,
            "expires": None if expires is None else now + expires * SECOND,
        }
        new = self.desk.new(key, on_conflict=conflict, **options)
        pending = self.of(JobState.PENDING, task, key) if key else []
        if pending and conflict is Conflict.RAISE:
            with pytest.raises(JobConflictError):
                self.desk.defer_all(new)
            return
        if pending and conflict is Conflict.KEEP:
            assert self.desk.defer_all(new) == [pending[0].job_id]
            return
        assert self.desk.defer_all(new) == [new.job_id]
        for job in pending:
            job.over(JobState.REPLACED, now)
        self.mark(task, key, JobState.REPLACED)
        self.all.append(Modelled(new.job_id, int(new.job_id[1:]), key=key, **options))

    @rule(task=st.sampled_from(TASKS), terms=st.lists(st.tuples(st.integers(-3, 1), st.integers(-1, 1)), max_size=4))
    def defer_some(self, task: str, terms: list[tuple[int, int]]) -> None:
        """Without keys, so that more than one waits in a line."""
        due = [(self.world.now + delay * SECOND, priority) for delay, priority in terms]
        new = [self.desk.new(task=task, due=moment, priority=priority) for moment, priority in due]
        assert self.desk.defer_all(*new) == [job.job_id for job in new]
        self.all += [Modelled(job.job_id, int(job.job_id[1:]), task, None, job.due, job.priority, None) for job in new]

    def mark(self, task: str, key: str | None, state: JobState) -> None:
        for job in self.of(JobState.RUNNING, task, key) if key else []:
            job.mark = job.mark or state

    @rule(task=st.sampled_from(TASKS), key=st.sampled_from(["a", "b"]))
    def cancel_by_key(self, task: str, key: str) -> None:
        pending = self.of(JobState.PENDING, task, key)
        self.mark(task, key, JobState.CANCELLED)
        assert self.desk.cancel(task=task, key=key) == bool(pending)
        for job in pending:
            job.over(JobState.CANCELLED, self.world.now)

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def cancel_by_id(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.all))
        assert self.desk.cancel(job.job_id) == (job.state is JobState.PENDING)
        if job.state is JobState.PENDING:
            job.over(JobState.CANCELLED, self.world.now)
        elif job.state is JobState.RUNNING:
            job.mark = job.mark or JobState.CANCELLED

    @rule(limit=st.integers(0, 4), mail=st.sampled_from([None, 0, 1, 2]), both=st.booleans())
    def claim(self, limit: int, mail: int | None, *, both: bool) -> None:
        tasks: dict[str, int | None] = {"mail": mail} | ({"bill": None} if both else {})
        expected = self.claimable(tasks, limit)
        claims = self.desk.claims(limit, **tasks)
        assert [(claim.job_id, claim.attempt) for claim in claims] == [(job.job_id, job.attempts) for job in expected]
        assert all(claim.fence > job.fence for claim, job in zip(claims, expected, strict=True))
        for claim, job in zip(claims, expected, strict=True):
            job.fence = claim.fence
        self.claims += claims

    def claimable(self, tasks: dict[str, int | None], limit: int) -> list[Modelled]:
        now, started = self.world.now, list[Modelled]()
        for job in sorted(self.of(JobState.PENDING), key=lambda job: (-job.priority, job.due, job.place)):
            running = [other.key for other in self.of(JobState.RUNNING) if other.task == job.task]
            most = tasks.get(job.task, 0)
            if len(started) == max(limit, 0):
                break
            if job.due > now or (most is not None and len(running) >= most):
                continue
            if job.expires is not None and job.expires < now:
                job.over(JobState.EXPIRED, now)
            elif job.key is None or job.key not in running:
                job.state, job.lease, job.mark, job.ended = JobState.RUNNING, now + LEASE * SECOND, None, None
                job.attempts += 1
                started.append(job)
        return started

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        state=st.sampled_from([JobState.SUCCEEDED, JobState.FAILED, JobState.PENDING]),
        delay=st.integers(-1, 3),
        counts=st.booleans(),
        late=st.booleans(),
    )
    def finish(self, data: st.DataObject, state: JobState, delay: int, *, counts: bool, late: bool) -> None:
        """Also by those that have long lost their lease, or finished before."""
        living = {(job.job_id, job.fence) for job in self.of(JobState.RUNNING)}
        wanted = [claim for claim in self.claims if late or (claim.job_id, claim.fence) in living]
        claim, now = data.draw(st.sampled_from(wanted or self.claims)), self.world.now
        job = self.known(claim.job_id)
        own = job and job.state is JobState.RUNNING and job.fence == claim.fence
        ended = self.desk.end(claim, state, due=now + delay * SECOND, counts=counts)
        if not (job and own):
            assert ended is None
            return
        job.attempts -= not counts
        if job.mark and state is not JobState.SUCCEEDED:
            job.over(job.mark, now)
        elif state is JobState.PENDING:
            job.again(now + delay * SECOND, now)
        else:
            job.over(state, now)
        assert ended is job.state

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        claim, now = data.draw(st.sampled_from(self.claims)), self.world.now
        job = self.known(claim.job_id)
        own = job and job.lease and job.fence == claim.fence
        assert set(self.world.backend.renew_jobs([claim], LEASE)) == ({claim.job_id} if own else set())
        if job and own:
            job.lease = now + LEASE * SECOND

    @rule(seconds=st.sampled_from([0, 1, 3, LEASE / 2, LEASE]))
    def reap(self, seconds: float) -> None:
        now = self.world.forward(seconds)
        over = [job for job in self.all if job.lease and job.lease <= now]
        for job in over:
            job.lost += 1
            if job.mark:
                job.over(job.mark, now)
            elif job.lost == 3:
                job.over(JobState.FAILED, now)
            else:
                job.again(now, now)
        reaped = self.world.do(self.world.backend.reap_jobs())
        assert {(job.job_id, job.state) for job in reaped} == {(job.job_id, job.state) for job in over}

    @precondition(lambda self: self.of(JobState.FAILED))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.of(JobState.FAILED)))
        taken = job.key is not None and self.of(JobState.PENDING, job.task, job.key)
        assert self.desk.retry(job.job_id) == (not taken)
        if not taken:
            self.mark(job.task, job.key, JobState.REPLACED)
            job.state, job.due, job.expires = JobState.PENDING, self.world.now, None
            job.attempts = job.lost = 0

    @rule()
    def purge(self) -> None:
        now = self.world.now
        old = [job for job in self.all if job.state in KEEP and job.ended and job.ended < now - KEEP[job.state]]
        assert self.world.do(self.world.backend.purge(KEEP)) == len(old)
        self.all = [job for job in self.all if job not in old]

    @rule(seconds=st.sampled_from([1, 5, 30]))
    def pass_time(self, seconds: int) -> None:
        self.world.forward(seconds)

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        stored = self.world.do(self.world.backend.jobs(limit=1000))
        told = [(job.job_id, job.state, job.due, job.attempts, job.lost, job.fence, job.ended) for job in stored]
        assert told == [job.told for job in reversed(self.all)]

    @invariant()
    def the_next_is_the_first_to_come_or_one_that_is_due(self) -> None:
        pending = self.of(JobState.PENDING)
        upcoming, soonest = self.desk.next(*TASKS), min((job.due for job in pending), default=None)
        if soonest is None or soonest > self.world.now:
            assert upcoming == soonest
        else:
            assert upcoming in {job.due for job in pending if job.due <= self.world.now}

    @invariant()
    def a_key_is_pending_once_and_runs_once(self) -> None:
        for state in (JobState.PENDING, JobState.RUNNING):
            names = [(job.task, job.key) for job in self.of(state) if job.key]
            assert len(names) == len(set(names))


class OnMemory(Model):
    store = "memory"


class OnFile(Model):
    store = "file"


class OnRedis(Model):
    store = "redis"


@pytest.mark.timeout(400)  # so that a failure has time to become a short one
@pytest.mark.parametrize(("machine", "examples"), [(OnMemory, 100), (OnFile, 40), (OnRedis, 40)])
def test_the_queue_does_what_the_model_does(machine: type[Model], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
