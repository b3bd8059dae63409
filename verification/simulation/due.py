"""What a store has to have started by now, from what it has answered: slots, pending runs, and ends of leases."""

from __future__ import annotations

from datetime import timedelta
from enum import IntEnum, auto
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.backends.model import Kind as RunKind
from pseudocron.backends.model import State
from verification.simulation.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


class Kind(IntEnum):
    """What a process needs for it: capacity for crons or for jobs, or for anything at all."""

    CRON = auto()
    JOB = auto()
    LEASE = auto()


class Item(NamedTuple):
    """Something that some process has to start, or a lease that one has to end.

    Args:
        kind: What a process needs for it.
        name: The cron or task; not every process may have it.
        identity: The slot, or the run with its latest fence.
    """

    kind: Kind
    name: str
    identity: tuple[object, ...]

    def __str__(self) -> str:
        return f"{self.kind.name.lower()} of {self.name}, {' '.join(map(str, self.identity))}"


def items(stored: Stored, now: datetime, latest: datetime) -> Iterator[tuple[Item, datetime]]:
    """Return what may start when its time has come, and when that is.

    Args:
        stored: What the store holds.
        now: The clock of the store.
        latest: The latest reading of it: what it has been too late to start may never start.
    """
    held = stored.held()
    for run_id, lease in stored.leases.items():
        yield Item(Kind.LEASE, stored.runs[run_id].name, (run_id, lease.fence)), lease.until
    for run_id, run in stored.unfinished.items():
        may_start = run.state is State.PENDING and stored.is_in_use(run.of, now)
        if may_start and not run.is_expired(latest) and not stored.holds_back(run_id, run, held):
            kind = Kind.JOB if run.kind is RunKind.JOB else Kind.CRON
            yield Item(kind, run.name, (run_id, run.fence)), run.due
    for name, cron in stored.crons.items():
        slot = cron.following()
        may_run = cron.spec.options["coalesce"] or stored.has_instance(name)
        if slot and may_run and not cron.is_paused and stored.is_in_use((False, name), now):
            yield Item(Kind.CRON, name, (slot,)), slot + timedelta(seconds=cron.spec.options.get("jitter", 0.0))
