"""The queue against a plain model: whatever is done to it in whatever order, both tell the same."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
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
    stop: bool = False
    unfit_since: datetime | None = None

    def over(self, state: JobState, now: datetime, *, goes_on: bool = False) -> None:
        if self.state is JobState.RUNNING and not goes_on:
            self.lease = None
        self.state, self.ended, self.stop = state, now, False

    def again(self, due: datetime, now: datetime, *, goes_on: bool = False) -> None:
        self.over(JobState.PENDING, now, goes_on=goes_on)
        self.due = due

    @property
    def lingers(self) -> bool:
        return self.lease is not None and self.state is not JobState.RUNNING

    @property
    def told(self) -> tuple[object, ...]:
        return self.job_id, self.state, self.due, self.attempts, self.lost, self.fence, self.ended, self.unfit_since


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
        self.limits: dict[str, int | None] = {}
        self.seen: dict[str, datetime] = {}
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
        holder = self.holder(task, key, record=conflict is not Conflict.RAISE)
        pending = [holder] if holder else []
        if pending and conflict is Conflict.RAISE:
            with pytest.raises(JobConflictError):
                self.desk.defer_all(new)
            return
        self.holder(task, key)
        self.see(task)
        if pending and conflict is Conflict.KEEP:
            assert self.desk.defer_all(new) == [pending[0].job_id]
            return
        assert self.desk.defer_all(new) == [new.job_id]
        for job in pending:
            job.over(JobState.REPLACED, now)
        self.all.append(Modelled(new.job_id, int(new.job_id[1:]), key=key, **options))

    @rule(task=st.sampled_from(TASKS), terms=st.lists(st.tuples(st.integers(-3, 1), st.integers(-1, 1)), max_size=4))
    def defer_some(self, task: str, terms: list[tuple[int, int]]) -> None:
        """Without keys, so that more than one waits in a line."""
        due = [(self.world.now + delay * SECOND, priority) for delay, priority in terms]
        new = [self.desk.new(task=task, due=moment, priority=priority) for moment, priority in due]
        assert self.desk.defer_all(*new) == [job.job_id for job in new]
        self.see(*([task] if new else []))
        self.all += [Modelled(job.job_id, int(job.job_id[1:]), task, None, job.due, job.priority, None) for job in new]

    def holder(self, task: str, key: str | None, *, record: bool = True) -> Modelled | None:
        """The pending job of a key; one that has expired has it no more."""
        for job in self.of(JobState.PENDING, task, key) if key else []:
            if job.expires is None or job.expires >= self.world.now:
                return job
            if record:
                job.over(JobState.EXPIRED, self.world.now)
        return None

    def see(self, *tasks: str) -> None:
        """As a store does that writes it once in a quarter of 60 s."""
        self.seen |= {task: self.world.now for task in tasks if self.age(task) >= timedelta(seconds=15)}

    def age(self, task: str) -> timedelta:
        return self.world.now - self.seen[task] if task in self.seen else timedelta.max

    @rule(task=st.sampled_from(TASKS), key=st.sampled_from(["a", "b"]))
    def cancel_by_key(self, task: str, key: str) -> None:
        pending = self.of(JobState.PENDING, task, key)
        for job in self.of(JobState.RUNNING, task, key):
            job.stop = True
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
            job.stop = True

    @rule(limit=st.integers(0, 4), mail=st.sampled_from([None, 0, 1, 2]), both=st.booleans())
    def claim(self, limit: int, mail: int | None, *, both: bool) -> None:
        self.limits = tasks = {"mail": mail} | ({"bill": None} if both else {})
        self.see(*(tasks if limit else ()))
        expected = self.claimable(tasks, limit)
        claims = self.desk.claims(limit, **tasks)
        assert [(claim.job_id, claim.attempt) for claim in claims] == [(job.job_id, job.attempts) for job in expected]
        assert all(claim.fence > job.fence for claim, job in zip(claims, expected, strict=True))
        for claim, job in zip(claims, expected, strict=True):
            job.fence = claim.fence
        self.claims += claims
        if upcoming := self.world.do(self.world.backend.next_due(tasks)):  # a claim is part of a poll, which ends so
            self.world.do(self.world.backend.lower(upcoming, 60))

    def claimable(self, tasks: dict[str, int | None], limit: int) -> list[Modelled]:
        now, started = self.world.now, list[Modelled]()
        for job in sorted(self.of(JobState.PENDING), key=lambda job: (-job.priority, job.due, job.place)):
            running = [other.key for other in self.all if other.lease and other.task == job.task]
            most = tasks.get(job.task, 0)
            if len(started) == max(limit, 0):
                break
            if job.due > now or job.lingers or (most is not None and len(running) >= most):
                continue
            if job.expires is not None and job.expires < now:
                job.over(JobState.EXPIRED, now)
            elif job.key is None or job.key not in running:
                job.state, job.lease, job.ended = JobState.RUNNING, now + LEASE * SECOND, None
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
        goes_on=st.booleans(),
        unfit=st.booleans(),
    )
    def finish(
        self,
        data: st.DataObject,
        state: JobState,
        delay: int,
        *,
        counts: bool,
        late: bool,
        goes_on: bool,
        unfit: bool,
    ) -> None:
        """Also by those that have long lost their lease, or finished before."""
        living = {(job.job_id, job.fence) for job in self.of(JobState.RUNNING)}
        wanted = [claim for claim in self.claims if late or (claim.job_id, claim.fence) in living]
        claim, now = data.draw(st.sampled_from(wanted or self.claims)), self.world.now
        job = self.known(claim.job_id)
        own = job and job.state is JobState.RUNNING and job.fence == claim.fence
        due = now + delay * SECOND
        ended = self.desk.end(claim, state, due=due, counts=counts, goes_on=goes_on, unfit=unfit)
        if not (job and own):
            assert ended is None
            return
        job.attempts -= not counts
        job.unfit_since = (job.unfit_since or now) if unfit else None
        dropped_as = self.dropped_as(job) if state is not JobState.SUCCEEDED else None
        if dropped_as is None and state is JobState.PENDING:
            job.again(due, now, goes_on=goes_on)
        else:
            job.over(dropped_as or state, now, goes_on=goes_on)
        assert ended is job.state

    def dropped_as(self, job: Modelled) -> JobState | None:
        if job.stop:
            return JobState.CANCELLED
        return JobState.REPLACED if self.holder(job.task, job.key) else None

    @precondition(lambda self: any(job.lingers for job in self.all))
    @rule(data=st.data(), renew=st.booleans())
    def release(self, data: st.DataObject, *, renew: bool) -> None:
        job = data.draw(st.sampled_from([job for job in self.all if job.lingers]))
        (claim,) = (one for one in self.claims if (one.job_id, one.fence) == (job.job_id, job.fence))
        if renew:
            assert set(self.world.backend.renew_jobs([claim], LEASE)) == {job.job_id}
            job.lease = self.world.now + LEASE * SECOND
        else:
            self.desk.release(claim)
            job.lease = None

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
        ended = [job for job in self.all if job.lease and job.lease <= now]
        over = [job for job in ended if not job.lingers]
        for job in ended:
            job.lease = None
        for job in over:
            job.lost, job.unfit_since = job.lost + 1, None
            if dropped_as := self.dropped_as(job):
                job.over(dropped_as, now)
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
        taken = self.holder(job.task, job.key)
        assert self.desk.retry(job.job_id) == (not taken)
        if not taken:
            job.unfit_since = None
            job.state, job.due, job.expires = JobState.PENDING, self.world.now, None
            job.attempts = job.lost = 0

    @rule()
    def purge(self) -> None:
        now = self.world.now
        over = [job for job in self.all if job.state in KEEP and not job.lingers]
        old = [job for job in over if job.ended and job.ended < now - KEEP[job.state]]
        assert self.world.do(self.world.backend.purge(KEEP)) == len(old)
        self.all = [job for job in self.all if job not in old]

    @rule(seconds=st.sampled_from([1, 5, 30]))
    def pass_time(self, seconds: int) -> None:
        self.world.forward(seconds)

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        stored = self.world.do(self.world.backend.jobs(limit=1000))
        told = [
            (job.job_id, job.state, job.due, job.attempts, job.lost, job.fence, job.ended, job.unfit_since)
            for job in stored
        ]
        assert told == [job.told for job in reversed(self.all)]

    @invariant()
    def the_lingering_are_those_of_the_model(self) -> None:
        lingering = {one.run_id: one.ended for one in self.world.do(self.world.backend.lingering())}
        assert lingering == {job.job_id: job.ended for job in self.all if job.lingers}

    def dues(self, tasks: dict[str, int | None], *, used_for: timedelta = timedelta(seconds=120)) -> set[datetime]:
        """When something comes due, as `next_due` has it of these tasks and those that are in use."""
        leases = [(job.task, job.key) for job in self.all if job.lease]
        living = Counter(task for task, _ in leases)
        room = {task: most is None or living[task] < most for task, most in tasks.items()}
        room = {task: self.age(task) <= used_for for task in TASKS} | room
        free = (job for job in self.of(JobState.PENDING) if room[job.task] and not job.lingers)
        dues = {job.due for job in free if not (job.key and (job.task, job.key) in leases)}
        return dues | {job.lease for job in self.all if job.lease}

    @invariant()
    def the_next_is_the_first_to_come_or_one_that_is_due(self) -> None:
        for tasks in (self.limits, dict.fromkeys(TASKS), {}):
            upcoming = self.world.do(self.world.backend.next_due(tasks))
            dues = self.dues(tasks)
            soonest = min(dues, default=None)
            if soonest is None or soonest > self.world.now:
                assert upcoming == soonest
            else:
                assert upcoming in {due for due in dues if due <= self.world.now}

    @invariant()
    def the_gate_turns_stale_when_something_is_due(self) -> None:
        """The law of the gate; when it is stale a poll enters, which changes nothing and ends as a poll does."""
        world, soonest = self.world, min(self.dues(self.limits), default=None)
        fresh = world.do(world.backend.fresh_for(60))
        assert fresh <= (60 if soonest is None else max(0, (soonest - world.now).total_seconds()))
        if world.do(world.backend.enter(60)) and (upcoming := world.do(world.backend.next_due(self.limits))):
            world.do(world.backend.lower(upcoming, 60))

    @invariant()
    def a_key_is_pending_once_and_runs_once(self) -> None:
        names = [(job.task, job.key) for job in self.of(JobState.PENDING) if job.key]
        assert len(names) == len(set(names))
        leases = [(job.task, job.key) for job in self.all if job.key and job.lease]
        assert len(leases) == len(set(leases))


class OnMemory(Model):
    store = "memory"


class OnFile(Model):
    store = "file"


class OnRedis(Model):
    store = "redis"


@pytest.mark.timeout(400)  # so that a failure has time to become a short one
@pytest.mark.parametrize(("machine", "examples"), [(OnMemory, 100), (OnFile, 40), (OnRedis, 20)])
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
