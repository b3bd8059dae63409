"""What is kept in memory of crons, and of the lines of their history."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING

from pseudocron.backends.memory.shelf import Shelf
from pseudocron.backends.records import Blocker
from pseudocron.backends.slot_rules import grows

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.backends.records import Claim, Run, Skip


@dataclass(slots=True)
class Cron:
    """What is kept of a cron for ever; its claims give the fence."""

    mark: datetime | None = None
    back: datetime | None = None
    paused: bool = False
    claims: int = 0
    failures: int = 0
    missed: int = 0
    reset: datetime | None = None

    def grow(self, slot: datetime) -> None:
        """Raise the mark to a slot, if that is higher."""
        self.mark = slot if self.mark is None else max(self.mark, slot)

    def skip(self, skip: Skip) -> None:
        """Count slots that will not run."""
        if grows(skip) == "mark":
            self.grow(skip.slot)
        else:
            self.back = skip.slot
        self.missed += skip.slots


@dataclass(slots=True)
class Line:
    """A line of the history, the end of its lease, and whether it is, and waits, to be recovered."""

    run: Run
    lease: datetime | None = None
    recover: bool = False
    waits: bool = False

    @property
    def settled(self) -> bool:
        """Whether nothing more can happen to it, so that it may be forgotten."""
        return self.run.outcome is not None and self.lease is None and not self.waits


@dataclass(slots=True)
class Store:
    """What all `Memory` objects share that stand for processes with the same store."""

    lock: Lock = field(default_factory=Lock)
    gate: datetime | None = None
    crons: dict[str, Cron] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    shelf: Shelf = field(default_factory=Shelf)

    def fresh_for(self, max_age: float, now: datetime) -> float:
        """Return the seconds until the gate turns stale, 0 when it is stale."""
        if self.gate is None or self.gate > now:
            return 0.0
        return max(0.0, (self.gate + timedelta(seconds=max_age) - now).total_seconds())

    def bring_forward(self, due: datetime, max_age: float, now: datetime) -> None:
        """Let the gate turn stale at `due`, if that is sooner than it would be.

        A gate that lies in the future is stale now, and turns fresh when the clock has come to it. It is set back only
        to what is due now: to anything later it would be fresh at once.
        """
        if self.gate and (self.fresh_for(max_age, now) or due <= now):
            self.gate = min(self.gate, due - timedelta(seconds=max_age))

    def cron(self, name: str) -> Cron:
        """What is known of a cron, from now on."""
        return self.crons.setdefault(name, Cron())

    def of(self, name: str) -> list[Line]:
        """A cron's history, oldest first."""
        return [line for line in self.lines if line.run.name == name]

    def living(self, name: str) -> tuple[Blocker, ...]:
        """The runs of a cron whose leases are living."""
        living = (line.run for line in self.of(name) if line.lease is not None)
        return tuple(Blocker(run_id=run.run_id, worker=run.worker) for run in living)

    def own(self, claim: Claim) -> Line | None:
        """The line of a claim, if it is still there."""
        own = (line for line in self.lines if line.run.run_id == claim.run_id and line.run.fence == claim.fence)
        return next(own, None)
