"""The verbs: each reads the whole file, changes what it read, and writes the whole file, under a lock."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from json_store.data import Data, pack, unpack
from json_store.polling import Polling
from pseudocron.backends import rules
from pseudocron.backends.contract import Backend
from pseudocron.backends.model import Conflict, Kind, Run, Skip, State
from pseudocron.backends.questions import (
    Capacity,
    Claim,
    End,
    Finished,
    Manual,
    NewJob,
    Poll,
    Polled,
    Refusal,
    States,
    Take,
    Where,
)
from pseudocron.errors import BackendError, JobConflictError
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

T = TypeVar("T")

NOTHING = Take({}, {}, Capacity(0, 0, 0), "", 0.0)


def open_url(url: str, options: Any) -> Backend:
    """The backend that a URL names, as `json:crons.json`; see the entry point group `pseudocron.backends`."""
    return JsonFile(options.folder / url.partition(":")[2], host=options.host, keep=options.keep)


class JsonFile(Backend):
    durable = True

    def __init__(self, path: Path, *, host: Host | None = None, keep: int = 20) -> None:
        self.path, self.host, self.keep = path, host or Host(), keep

    async def open(self) -> None:
        await self.host.hop(self.read, lambda _: None)

    async def close(self) -> None:
        pass

    # How a verb is atomic: the new file takes the place of the old one, or it does not.

    def read(self, work: Callable[[Data], T], *, is_write: bool = False) -> T:
        try:
            with self.path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                stored = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
                data = Data(self.host.now(), self.keep, **unpack(stored))
                answer = work(data)
                if is_write:
                    self.save(data)
                return answer
        except (OSError, ValueError, TypeError) as error:
            raise error if isinstance(error, JobConflictError) else BackendError(f"{self.path}: {error}") from error

    def save(self, data: Data) -> None:
        stored = {name: pack(value) for name, value in vars(data).items() if name not in {"now", "keep"}}
        new = self.path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(stored, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)

    def write(self, work: Callable[[Data], T]) -> T:
        """Do what any verb does but `poll`: at the end it brings the gate forward to what is earliest then."""

        def work_and_bring_forward(data: Data) -> T:
            answer = work(data)
            earliest = data.earliest()
            data.gate = min(data.gate, earliest) if data.gate and earliest else data.gate
            return answer

        return self.read(work_and_bring_forward, is_write=True)

    # The gate, polls and ends

    async def stale_in(self) -> float:
        return await self.host.hop(self.read, self.fresh_for)

    def fresh_for(self, data: Data) -> float:
        seconds = (data.gate - data.now).total_seconds() if data.gate else 0.0
        return 0.0 if seconds > self.cron_max_time else max(0.0, seconds)

    async def states(self, names: Collection[str]) -> States:
        return await self.host.hop(
            self.read,
            lambda data: States(
                data.now,
                {name: data.cron(name) for name in names},
                data.polled,
                max([*data.times_in_use(), self.cron_max_time]),
            ),
        )

    async def poll(self, poll: Poll) -> Polled | None:
        def work(data: Data) -> Polled | None:
            if self.fresh_for(data) > 0 and not poll.force:
                return None
            polled = Polling(data, poll.take).poll(poll, self.cron_max_time)
            data.gate = data.now if polled.outdated else data.earliest()
            return polled._replace(fresh_for=self.fresh_for(data))

        return await self.host.hop(lambda: self.read(work, is_write=True))

    async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
        def work(data: Data) -> Finished:
            polling = Polling(data, take or NOTHING)
            states = [self.end(data, end, polling.dropped) for end in ends]
            if take:
                polling.claim_pending()
            return Finished(states, 0.0, polling.claims, polling.dropped, polling.left)

        finished: Finished = await self.host.hop(self.write, work)
        return finished._replace(fresh_for=await self.stale_in())

    def end(self, data: Data, end: End, dropped: list[Run]) -> State | None:
        run = data.entries.get(end.claim.run_id)
        if not isinstance(run, Run) or run.state is not State.RUNNING or run.fence != end.claim.fence:
            return None
        is_stopped, is_taken = run.run_id in data.stopped, data.is_key_taken(run)
        after = rules.ended(run, end, stop=is_stopped, is_key_taken=is_taken, now=data.now)
        if not end.goes_on:
            del data.leases[run.run_id]
        if after.state is State.PENDING:
            dropped += data.free_key(run)
        return data.put(after).state

    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        def work(data: Data) -> Collection[str]:
            held = {
                claim.run_id: (claim.fence, data.now + timedelta(seconds=lease))
                for claim in claims
                if data.holds(claim)
            }
            data.leases |= held
            return set(held)

        return self.write(work)

    async def release(self, claims: Sequence[Claim]) -> None:
        def work(data: Data) -> None:
            for claim in filter(data.holds, claims):
                if (run := data.run(claim.run_id)).is_kept:
                    del data.leases[claim.run_id]
                    data.put(run._replace(is_kept=False))

        await self.host.hop(self.write, work)

    # Jobs

    async def defer(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        return await self.host.hop(self.defer_blocking, jobs)

    def defer_blocking(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        def work(data: Data) -> Sequence[str]:
            ids = [self.store(data, job) for job in jobs]
            data.seen |= {f"job:{job.task}": data.now for job in jobs}
            return ids

        return self.write(work)

    def store(self, data: Data, job: NewJob) -> str:
        if job.run_id in data.entries:
            return job.run_id
        due = max(job.due, data.now)
        run = Run(job.run_id, Kind.JOB, job.task, State.PENDING, due, data.now, None, job.key, job.arguments)
        run = run._replace(priority=job.priority, expires=job.expires, at_least_once=True)
        data.free_key(run)
        if holder := data.holder(run):
            if job.on_conflict is Conflict.KEEP:
                return holder.run_id
            if job.on_conflict is Conflict.RAISE:
                raise JobConflictError(f"task {job.task!r}: key {job.key!r} is taken by a pending job")
            data.put(rules.dropped(holder, State.REPLACED, data.now))
        return data.put(run).run_id

    async def cancel(self, *, run_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        def work(data: Data) -> bool:
            named = [run for run in data.runs(f"job:{task}") if key is not None and run.key == key]
            chosen = [run for run in data.runs() if run.run_id == run_id] + named
            pending = [run for run in chosen if run.state is State.PENDING]
            for run in pending:
                data.put(rules.dropped(run, State.CANCELLED, data.now))
            data.stopped |= {run.run_id: True for run in chosen if run.state is State.RUNNING}
            return bool(pending)

        return await self.host.hop(self.write, work)

    async def retry(self, run_id: str) -> bool:
        def work(data: Data) -> bool:
            run = data.entries.get(run_id)
            if not isinstance(run, Run) or run.kind is not Kind.JOB:
                return False
            if run.state not in {State.FAILED, State.TIMED_OUT} or data.is_key_taken(run):
                return False
            data.free_key(run)
            data.put(rules.revived(run, data.now))
            return True

        return await self.host.hop(self.write, work)

    # Crons

    async def start(self, manual: Manual) -> Claim | Refusal:
        def work(data: Data) -> Claim | Refusal:
            if len(data.counting(manual.name)) >= manual.max_instances:
                return Refusal.OVERLAP
            run = Run(uuid4().hex, Kind.MANUAL, manual.name, State.PENDING, data.now, data.now, data.now)
            return data.claim(run, manual.worker, manual.lease)

        return await self.host.hop(self.write, work)

    async def pause(self, name: str, paused: bool) -> None:  # noqa: FBT001
        await self.host.hop(self.write, lambda data: data.cron(name, paused=paused))

    async def reset(self, name: str, mark: datetime) -> None:
        def work(data: Data) -> None:
            data.cron(name, mark=mark, since=mark, back=mark, next=data.now)
            data.held.pop(name, None)

        await self.host.hop(self.write, work)

    # Lists

    async def purge(self, keep: Mapping[State, timedelta], limit: int = 1000) -> int:
        def work(data: Data) -> int:
            jobs = [run for run in data.runs() if run.kind is Kind.JOB and run.state in rules.FINAL and not run.is_kept]
            jobs = [run for run in jobs if run.state in keep and run.ended and run.ended < data.now - keep[run.state]]
            for run in jobs[:limit]:
                del data.entries[run.run_id]
            return len(jobs[:limit])

        return await self.host.hop(self.write, work)

    async def run(self, run_id: str) -> Run | None:
        run = await self.host.hop(self.read, lambda data: data.entries.get(run_id))
        return run if isinstance(run, Run) else None

    async def runs(
        self, where: Where, limit: int = 50, before: str | None = None, *, brief: bool = False
    ) -> Sequence[Run]:
        runs = (await self.host.hop(self.read, lambda data: data.runs()))[::-1]
        if before is not None:
            ids = [run.run_id for run in runs]
            runs = runs[ids.index(before) + 1 :] if before in ids else []
        chosen = (
            run
            for run in runs
            if (run.state in where.states or not where.states)
            and (run.kind in where.kinds or not where.kinds)
            and (where.name in {None, run.name})
            and (where.key in {None, run.key})
            and (run.is_kept or not where.is_kept)
        )
        found = list(chosen)[:limit]
        return list(map(rules.briefly, found)) if brief else found

    async def timelines(
        self, names: Collection[str] | None = None, limit: int = 20
    ) -> Mapping[str, Sequence[Run | Skip]]:
        data = await self.host.hop(self.read, lambda data: data)
        names, entries = data.crons if names is None else names, list(data.entries.values())[::-1]
        of_crons = [entry for entry in entries if isinstance(entry, Skip) or entry.kind is not Kind.JOB]
        if len(names) > 1:
            of_crons = [one._replace(error=None, output=None) if isinstance(one, Run) else one for one in of_crons]
        return {name: [entry for entry in of_crons if entry.name == name][:limit] for name in names}

    async def counts(self, at_most: int = 10_000) -> Mapping[State, int]:
        runs = await self.host.hop(self.read, lambda data: data.runs())
        states = [run.state for run in runs if run.kind is Kind.JOB]
        return {state: min(at_most, states.count(state)) for state in State}

    async def waiting(self) -> Mapping[str, datetime]:
        runs = await self.host.hop(self.read, lambda data: data.runs(state=State.PENDING))
        jobs = sorted((run for run in runs if run.kind is Kind.JOB), key=lambda run: run.due)
        return {run.name: run.due for run in reversed(jobs)}
