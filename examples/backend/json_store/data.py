"""All that the store keeps, in plain dicts, and what the contract says of it; and how it becomes JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from pseudocron.backends import model, rules
from pseudocron.backends.model import CronState, Kind, Reason, Run, Skip, State
from pseudocron.backends.questions import Claim


def pack(value: Any) -> Any:
    """What JSON can hold of a value: our own types become lists that begin with their names."""
    if isinstance(value, datetime):
        return ["datetime", value.isoformat()]
    if isinstance(value, dict):
        return {key: pack(item) for key, item in value.items()}
    if type(value).__module__ == model.__name__:
        name = type(value).__name__
        return [name, value.value] if isinstance(value, (Kind, State, Reason)) else [name, *map(pack, value)]
    return ["tuple", *map(pack, value)] if isinstance(value, (tuple, list)) else value


def unpack(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: unpack(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    name, *items = value
    if name == "datetime":
        return datetime.fromisoformat(items[0])
    return tuple(map(unpack, items)) if name == "tuple" else getattr(model, name)(*map(unpack, items))


def owner(run: Run) -> str:
    return f"job:{run.name}" if run.kind is Kind.JOB else f"cron:{run.name}"


def is_job(entry: Run | Skip) -> bool:
    return isinstance(entry, Run) and entry.kind is Kind.JOB


@dataclass
class Data:
    """All that is stored; tasks and crons are named as by `owner`."""

    now: datetime  # neither this nor the next is stored
    keep: int
    gate: datetime | None = None
    polled: datetime | None = None
    entries: dict[str, Run | Skip] = field(default_factory=dict)  # in the order in which they were stored
    leases: dict[str, tuple[int, datetime]] = field(default_factory=dict)  # the fence and the end, by run
    stopped: dict[str, bool] = field(default_factory=dict)  # running runs that were cancelled
    apart: dict[str, bool] = field(default_factory=dict)  # runs of plans that did not coalesce
    crons: dict[str, CronState] = field(default_factory=dict)
    held: dict[str, bool] = field(default_factory=dict)  # crons with slots that `max_instances` holds back
    seen: dict[str, datetime] = field(default_factory=dict)
    limits: dict[str, int | None] = field(default_factory=dict)
    times: dict[str, datetime] = field(default_factory=dict)  # when each CRON_MAX_TIME polled last
    takeovers: int = 0

    def runs(self, name: str | None = None, state: State | None = None) -> list[Run]:
        runs = [entry for entry in self.entries.values() if isinstance(entry, Run)]
        return [run for run in runs if name in {None, owner(run)} and state in {None, run.state}]

    def run(self, run_id: str) -> Run:
        run = self.entries[run_id]
        assert isinstance(run, Run)
        return run

    def cron(self, name: str, **changes: Any) -> CronState:
        if changes:
            self.crons[name] = self.crons.get(name, CronState(name))._replace(**changes)
        known, running = self.crons.get(name, CronState(name)), len(self.counting(name))
        return known._replace(running=running, seen=self.seen.get(f"cron:{name}"))

    def living(self, name: str) -> list[Run]:
        return [run for run in self.runs(name) if run.run_id in self.leases]

    def counting(self, cron: str) -> list[Run]:
        waiting = self.runs(f"cron:{cron}", State.PENDING)
        waiting = [run for run in waiting if rules.counts_for_instances(run, coalesce=run.run_id not in self.apart)]
        return [*self.living(f"cron:{cron}"), *(run for run in waiting if run.run_id not in self.leases)]

    def put(self, run: Run) -> Run:
        before = self.entries.get(run.run_id)
        is_new_end = run.state in rules.FINAL and isinstance(before, Run) and before.state not in rules.FINAL
        self.entries[run.run_id] = run
        if run.state is not State.RUNNING:
            self.stopped.pop(run.run_id, None)
        if is_new_end and run.kind is not Kind.JOB:
            self.cron(run.name, failures=self.cron(run.name).failures + (run.state is not State.SUCCEEDED))
            self._trim(run.name)
        return run

    def _trim(self, cron: str) -> None:
        ended = [run.run_id for run in self.runs(f"cron:{cron}") if run.state in rules.FINAL and not run.is_kept]
        skips = [key for key, entry in self.entries.items() if isinstance(entry, Skip) and entry.name == cron]
        for key in ended[: -self.keep] + skips[: -self.keep]:
            del self.entries[key]

    def is_held_back(self, run: Run, limit: int | None) -> bool:
        living = self.living(owner(run))
        is_busy = run.key is not None and run.key in {other.key for other in living}
        is_paused = run.kind is not Kind.JOB and self.cron(run.name).paused
        return is_busy or is_paused or run.run_id in self.leases or (limit is not None and len(living) >= limit)

    def holder(self, run: Run) -> Run | None:
        others = (other for other in self.runs(owner(run), State.PENDING) if other.run_id != run.run_id)
        return next((other for other in others if run.key and other.key == run.key), None)

    def free_key(self, run: Run) -> list[Run]:
        """Record that the holder of the key has expired, if it has."""
        holder = self.holder(run)
        is_free = holder is not None and rules.is_expired(holder, self.now)
        return [self.put(rules.dropped(holder, State.EXPIRED, self.now))] if holder and is_free else []

    def is_key_taken(self, run: Run) -> bool:
        holder = self.holder(run)
        return holder is not None and not rules.is_expired(holder, self.now)

    def claim(self, run: Run, worker: str, lease: float) -> Claim:
        fence = run.fence + 1 if run.kind is Kind.JOB else self.cron(run.name).claims + 1
        if run.kind is not Kind.JOB:
            self.cron(run.name, claims=fence)
        run = run._replace(state=State.RUNNING, attempts=run.attempts + 1, fence=fence, worker=worker, ended=None)
        run = self.put(run._replace(started=self.now))
        self.leases[run.run_id] = fence, self.now + timedelta(seconds=lease)
        return Claim(
            run.run_id,
            run.kind,
            run.name,
            run.due,
            fence,
            run.attempts,
            run.failures,
            self.now,
            run.slot,
            run.arguments,
            run.key,
            run.unfit_since,
        )

    def holds(self, claim: Claim) -> bool:
        return claim.run_id in self.leases and self.leases[claim.run_id][0] == claim.fence

    def skip(self, skip: Skip, worker: str) -> None:
        lines = [(key, one) for key, one in self.entries.items() if one.name == skip.name and not is_job(one)]
        key, newest = lines[-1] if lines else ("", None)
        if isinstance(newest, Skip) and newest.reason is skip.reason:
            self.entries[key] = rules.merged(newest, skip, now=self.now)
        else:
            self.entries[uuid4().hex] = skip._replace(recorded=self.now, updated=self.now, worker=worker)
        self.cron(skip.name, missed=self.cron(skip.name).missed + skip.slots)
        self._trim(skip.name)

    def raise_mark(self, cron: str, slot: datetime) -> None:
        self.cron(cron, mark=max(self.cron(cron).mark or slot, slot))

    # The gate

    def age(self, seen: datetime) -> float:
        return (self.now - seen).total_seconds()

    def is_in_use(self, name: str) -> bool:
        times = self.times_in_use()
        return bool(times) and name in self.seen and rules.is_in_use(self.age(self.seen[name]), max(times))

    def times_in_use(self) -> list[float]:
        return [float(time) for time, seen in self.times.items() if rules.is_in_use(self.age(seen), float(time))]

    def is_awaited(self, cron: CronState) -> bool:
        limit = self.limits.get(f"cron:{cron.name}")
        is_full = cron.name in self.held and limit is not None and len(self.counting(cron.name)) >= limit
        return self.is_in_use(f"cron:{cron.name}") and not cron.paused and not is_full

    def earliest(self) -> datetime | None:
        """*Earliest* of the law of the gate."""
        pending = [run for run in self.runs(state=State.PENDING) if self.is_in_use(owner(run))]
        dues = [run.due for run in pending if not self.is_held_back(run, self.limits.get(owner(run)))]
        dues += [end for _, end in self.leases.values()]
        dues += [cron.next for cron in self.crons.values() if cron.next and self.is_awaited(cron)]
        if self.polled and (times := self.times_in_use()):
            dues.append(self.polled + timedelta(seconds=min(times)))
        return min(dues, default=None)
