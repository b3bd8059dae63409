"""The oracle: the verbs of the contract, on plain dicts under one lock."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.contract import Backend
from pseudocron.backends.model import Conflict, Kind, Run, Skip, State
from pseudocron.backends.questions import Claim, Finished, Polled, Refusal, States
from pseudocron.errors import JobConflictError
from pseudocron.host import Host
from verification.oracle.polls import Polling
from verification.oracle.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.questions import End, Manual, NewJob, Poll, Take, Where


class Oracle(Backend):
    """A process's view of a store in memory.

    Args:
        store: What several processes share; None makes a new one.
        host: Gives the clock, which is the store's.
        cron_max_time: The `CRON_MAX_TIME` of this process in seconds.
    """

    durable = False
    polling = Polling

    def __init__(self, store: Store | None = None, *, host: Host | None = None, cron_max_time: float = 60.0) -> None:
        self.store = store or Store()
        self.host = host or Host()
        self.cron_max_time = cron_max_time

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def stale_in(self) -> float:
        """Return the seconds until the gate turns stale."""
        with self.store.lock:
            return self._stale_in()

    def _stale_in(self) -> float:
        if self.store.gate is None:
            return 0.0
        seconds = (self.store.gate - self.host.now()).total_seconds()
        return 0.0 if seconds > self.cron_max_time else max(0.0, seconds)

    async def states(self, names: Collection[str]) -> States:
        """Return what the store knows of these crons."""
        with self.store.lock:
            now = self.host.now()
            longest = max([*self.store.times_in_use(now), self.cron_max_time])
            return States(now, {name: self.store.cron(name) for name in names}, self.store.polled, longest)

    async def poll(self, poll: Poll) -> Polled | None:
        """Enter the gate, and do what is due."""
        with self.store.lock:
            if self._stale_in() > 0 and not poll.force:
                return None
            now = self.host.now()
            polled = self.polling(self.store, poll.take, now).poll(poll, self.cron_max_time)
            self.store.trim()
            self.store.gate = now if polled.outdated else self.store.earliest(now)
            return polled._replace(fresh_for=self._stale_in())

    async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
        """Record how attempts ended, and claim the next pending runs."""
        with self.store.lock:
            now = self.host.now()
            dropped: list[Run] = []
            states = [self._end(end, now, dropped) for end in ends]
            claims, left = list[Claim](), False
            if take is not None:
                polling = self.polling(self.store, take, now)
                polling.claim_pending()
                claims, left = polling.claims, polling.left
                dropped += polling.dropped
            self.store.trim()
            self.store.bring_forward(now)
            return Finished(states, self._stale_in(), claims, dropped, left)

    def _end(self, end: End, now: datetime, dropped: list[Run]) -> State | None:
        store, run_id = self.store, end.claim.run_id
        run = store.runs.get(run_id)
        if run is None or run.state is not State.RUNNING or run.fence != end.claim.fence:
            return None
        after = rules.ended(run, end, stop=run_id in store.stopped, is_key_taken=store.is_key_taken(run, now), now=now)
        if not end.goes_on:
            del store.leases[run_id]
        if after.state is State.PENDING:
            dropped += self._expire_holder(run, now)
        return store.put(after).state

    def _expire_holder(self, run: Run, now: datetime) -> list[Run]:
        """Record that the pending job with the key of a run has expired, if it has."""
        holder = self.store.holder(run)
        if holder is None or not rules.is_expired(holder, now):
            return []
        return [self.store.put(rules.dropped(holder, State.EXPIRED, now))]

    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        """Let the leases of these claims end `lease` seconds from now."""
        with self.store.lock:
            now = self.host.now()
            held = [claim for claim in claims if self.store.holds(claim)]
            for claim in held:
                self.store.renew(claim, now + timedelta(seconds=lease))
            self.store.bring_forward(now)
            return {claim.run_id for claim in held}

    async def release(self, claims: Sequence[Claim]) -> None:
        """End leases that `finish` has kept."""
        with self.store.lock:
            for claim in claims:
                if self.store.holds(claim) and self.store.runs[claim.run_id].is_kept:
                    del self.store.leases[claim.run_id]
                    self.store.put(self.store.runs[claim.run_id]._replace(is_kept=False))
            self.store.trim()
            self.store.bring_forward(self.host.now())

    async def defer(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """Store jobs, all of them or none."""
        return self.defer_blocking(jobs)

    def defer_blocking(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """Store jobs, all of them or none."""
        with self.store.lock:
            now, before = self.host.now(), dict(self.store.runs)
            try:
                ids = [self._defer(job, now) for job in jobs]
            except JobConflictError:
                self.store.runs = before
                raise
            for job in jobs:
                name = Kind.JOB, job.task
                self.store.name_in_use({name: self.store.limits.get(name)}, self.cron_max_time, now)
            self.store.bring_forward(now)
            return ids

    def _defer(self, job: NewJob, now: datetime) -> str:
        if job.run_id in self.store.runs:
            return job.run_id
        run = Run(
            job.run_id,
            Kind.JOB,
            job.task,
            State.PENDING,
            due=max(job.due, now),
            created=now,
            key=job.key,
            arguments=job.arguments,
            priority=job.priority,
            expires=job.expires,
            at_least_once=True,
        )
        self._expire_holder(run, now)
        if holder := self.store.holder(run):
            if job.on_conflict is Conflict.KEEP:
                return holder.run_id
            if job.on_conflict is Conflict.RAISE:
                raise JobConflictError(f"task {job.task!r}: key {job.key!r} is taken by a pending job")
            self.store.put(rules.dropped(holder, State.REPLACED, now))
        return self.store.put(run).run_id

    async def start(self, manual: Manual) -> Claim | Refusal:
        """Claim a manual run."""
        with self.store.lock:
            now = self.host.now()
            if len(self.store.counting(manual.name)) >= manual.max_instances:
                return Refusal.OVERLAP
            run = Run(self.store.new_id(), Kind.MANUAL, manual.name, State.RUNNING, due=now, created=now, slot=now)
            claim = self.store.claim(run, worker=manual.worker, lease=manual.lease, now=now)
            self.store.bring_forward(now)
            return claim

    async def cancel(self, *, run_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """Cancel one run by its id, or the pending and running jobs with this task and key."""
        with self.store.lock:
            now, was_pending = self.host.now(), False
            for run in list(self.store.runs.values()):
                is_named = run.kind is Kind.JOB and key is not None and (task, key) == (run.name, run.key)
                if run.run_id != run_id and not is_named:
                    continue
                if run.state is State.PENDING:
                    was_pending = True
                    self.store.put(rules.dropped(run, State.CANCELLED, now))
                elif run.state is State.RUNNING:
                    self.store.stopped.add(run.run_id)
            self.store.trim()
            self.store.bring_forward(now)
            return was_pending

    async def retry(self, run_id: str) -> bool:
        """Make a `failed` or `timed_out` job pending again."""
        with self.store.lock:
            now, run = self.host.now(), self.store.runs.get(run_id)
            if run is None or run.kind is not Kind.JOB or run.state not in {State.FAILED, State.TIMED_OUT}:
                return False
            self._expire_holder(run, now)
            if self.store.holder(run):
                return False
            self.store.put(rules.revived(run, now))
            self.store.bring_forward(now)
            return True

    async def pause(self, name: str, paused: bool) -> None:  # noqa: FBT001 - as in the contract
        """Refuse the slots of a cron from now on, or no longer."""
        with self.store.lock:
            self.store.change(name, paused=paused)
            self.store.bring_forward(self.host.now())

    async def reset(self, name: str, mark: datetime) -> None:
        """Set the mark of a cron, up or down."""
        with self.store.lock:
            now = self.host.now()
            self.store.change(name, mark=mark, since=mark, back=mark, next=now)
            self.store.waiting.discard(name)
            self.store.bring_forward(now)

    async def purge(self, keep: Mapping[State, timedelta], limit: int = 1000) -> int:
        """Delete jobs that ended long ago."""
        with self.store.lock:
            now, old = self.host.now(), list[str]()
            for run in self.store.runs.values():
                is_over = run.kind is Kind.JOB and run.state in rules.FINAL and run.run_id not in self.store.leases
                if is_over and run.state in keep and run.ended and run.ended < now - keep[run.state]:
                    old.append(run.run_id)
            for run_id in (old := old[:limit]):
                self.store.forget(run_id)
            return len(old)

    async def run(self, run_id: str) -> Run | None:
        """Return a run."""
        with self.store.lock:
            return self.store.runs.get(run_id)

    async def runs(
        self, where: Where, limit: int = 50, before: str | None = None, *, brief: bool = False
    ) -> Sequence[Run]:
        """Return runs, the last stored first."""
        with self.store.lock:
            runs = list(self.store.runs.values())
            if before is not None:
                runs = runs[: self._place(before)]
            found = [run for run in reversed(runs) if _is_in(where, run)][:limit]
            return list(map(rules.briefly, found)) if brief else found

    def _place(self, run_id: str) -> int:
        return list(self.store.runs).index(run_id) if run_id in self.store.runs else 0

    async def timelines(
        self, names: Collection[str] | None = None, limit: int = 20
    ) -> Mapping[str, Sequence[Run | Skip]]:
        """Return the newest runs and skips of crons."""
        with self.store.lock:
            names = list(self.store.crons) if names is None else names
            return {name: self._timeline(name, is_brief=len(names) > 1)[:limit] for name in names}

    def _timeline(self, name: str, *, is_brief: bool) -> list[Run | Skip]:
        runs = self.store.of((Kind.SLOT, name))
        if is_brief:
            runs = [run._replace(error=None, output=None) for run in runs]
        numbered: list[tuple[int, Run | Skip]] = [(self.store.order[run.run_id], run) for run in runs]
        return [entry for _, entry in sorted([*numbered, *self.store.skips[name]], key=lambda one: -one[0])]

    async def counts(self, at_most: int = 10_000) -> Mapping[State, int]:
        """Return how many jobs are in each state."""
        with self.store.lock:
            jobs = [run for run in self.store.runs.values() if run.kind is Kind.JOB]
            return {state: min(at_most, sum(run.state is state for run in jobs)) for state in State}

    async def waiting(self) -> Mapping[str, datetime]:
        """Return the names of the tasks that have pending jobs, each with when the first of them was due."""
        with self.store.lock:
            jobs = sorted((run for run in self.store.pending() if run.kind is Kind.JOB), key=lambda run: run.due)
            return {run.name: run.due for run in reversed(jobs)}


def _is_in(where: Where, run: Run) -> bool:
    return (
        (not where.states or run.state in where.states)
        and (not where.kinds or run.kind in where.kinds)
        and (where.name is None or run.name == where.name)
        and (where.key is None or run.key == where.key)
        and (not where.is_kept or run.is_kept)
    )
