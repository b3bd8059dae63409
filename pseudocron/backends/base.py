"""The contract of a backend: the gate, the memory of slots, the history of runs; `jobs` has that of the queue.

This docstring and those of the verbs are the law; a backend fulfils them and adds no rules of its own.

- Every verb is atomic: whatever dies in the middle of it, all of it has happened or nothing has. When a
  verb has returned, its effect is as durable as the backend is.
- Verbs of all processes that share a store happen one after another, in one order that all of them see.
- The backend's own clock decides whether a slot has come and whether a lease is over; callers propose by `ahead`.
- A verb that can't do its work raises `BackendError`, and has then changed nothing.
- A verb that makes something due, or grants a lease, brings the gate forward itself, as `lower` does with
  `cron_max_time`, by the backend's clock: no caller has to remember it. If that alone fails it is logged, not raised,
  as what the verb has stored stays stored.
- Instants are aware UTC, kept to `precision`; durations are seconds.
- `renew` and `renew_jobs` block and may be called from any thread; every other verb is a coroutine that never
  blocks its event loop, and is at most one hop off it. The verbs want an open backend; it may be opened again
  after `close`, on another loop.
- Everything in a store belongs to one application name, handed in where the backend is made.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from pseudocron.backends.jobs import Queue

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.records import Claim, Lingering, Proposal, Reaped, Refusal, Result, Run, Skip, State


class Backend(Queue):
    """One application's gate, memory and queue, shared by every process that names the same store."""

    precision: ClassVar[timedelta] = timedelta(microseconds=1)
    """The smallest step that the instants of this backend keep."""

    durable: ClassVar[bool]
    """Whether what a verb has stored survives the death of every process."""

    @abstractmethod
    async def open(self) -> None:
        """Reach the store, making it where there is none. Opening what is open does nothing.

        A store that can't be read, or is of a newer version, is named in a `BackendError` and left alone.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of the store. Closing what is closed does nothing."""

    async def advice(self) -> Sequence[str]:
        """What in how the store is kept endangers these promises, a line each, with the mend."""
        return ()

    # The gate

    @abstractmethod
    async def fresh_for(self, max_age: float) -> float:
        """Seconds until the gate turns stale; 0 when it is stale.

        It is so when it was never entered, or is dated `max_age` seconds ago or longer, or in the future.
        """

    @abstractmethod
    async def enter(self, max_age: float) -> bool:
        """Date the gate now if it is stale; of any number that find it stale at once, exactly one gets True."""

    @abstractmethod
    async def lower(self, due: datetime, max_age: float) -> float:
        """Let the gate turn stale at `due`, if that is sooner than it would be; one that is stale stays so.

        Returns:
            Seconds until it turns stale, as `fresh_for` says.
        """

    # The memory of slots

    @abstractmethod
    async def states(self, marks: Mapping[str, datetime]) -> Mapping[str, State]:
        """What is known of the crons in `marks`; one never seen before is first given the mark named there."""

    @abstractmethod
    async def claim(self, proposal: Proposal) -> Claim | Refusal:
        """Claim a slot, in this order of rules:

        1. later than the backend's clock: `EARLY`;
        2. with `recovers`: that run must still wait to be recovered (see `reap`), else `TAKEN`; where
           `max_instances` leases are living it waits on (`OVERLAP`, not recorded); a paused cron's waits on
           too (`PAUSED`, not recorded). Otherwise it waits no more, and the claim's attempt is one higher;
        3. without: not above the mark, `TAKEN`; then the mark grows to the slot, whatever follows: a paused
           cron is `PAUSED` and a cron with `max_instances` living leases `OVERLAP`, both recorded as skips, the
           latter with the runs whose leases these are;
        4. else the claim is granted: a fence higher than any before it of this cron, a lease that ends
           `lease` seconds from now, and a run in the history, with what it has `waited` for.

        With `manual` rules 1 to 3 fall away: the slot is the moment of the claim by the backend's clock, whatever
        was proposed; the mark stays, or stays unset; a paused cron is claimed all the same. Where `max_instances`
        leases are living it is an `OVERLAP`, not recorded. What is granted is a claim as any other.
        A cron never seen before has no mark, and any slot is above it. A claim that is granted brings the gate forward
        to the end of its lease.
        """

    @abstractmethod
    async def skip(self, skips: Sequence[Skip]) -> None:
        """Record slots that will not run, and let the marks grow to them.

        A skip of the same reason as the cron's newest line of history is added to that line, which then reaches from
        the lower `first` to the higher `slot`. A skip that is not above the mark is not recorded again.
        A `clock_back` skip is of slots up to the mark, to which the clock comes a second time. It leaves the mark
        as it is, and is recorded if it is above the cron's last one, so that many looks record it once.
        """

    @abstractmethod
    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        """Let the living leases of these claims end `lease` seconds from now; the `run_id`s still living.

        A lease that is over but that nobody has reaped is living. Blocks; may be called from any thread.
        """

    @abstractmethod
    async def finish(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> bool:
        """Record how a run ended and end its lease; False, and nothing changed, if it was no longer its own.

        A run that was reaped, or finished before, is no longer the claim's own. With `keep_lease` the lease
        goes on, to be renewed, until `release`. An interrupted run that has `recover` then waits to be
        recovered, and the gate is brought forward to now. Of the error and of the output the last 64 KiB are kept.
        """

    @abstractmethod
    async def release(self, claim: Claim) -> None:
        """End a lease that `finish` has kept, and bring the gate forward to now.

        The lease of a run that is not finished stays.
        """

    @abstractmethod
    async def reap(self) -> Reaped:
        """End the leases that are over; their runs, if not finished, become `lost`.

        A run with `recover` that is lost or interrupted waits, in `orphans` of this and every later call,
        until a claim of its slot with `recovers` takes it over. If such a run was lost just now, the gate is brought
        forward to now. A store that knows that the process of a lease is gone need not wait for the rest of it, but
        for the children of that process: the lease then ends at most a second from now, and the gate is brought
        forward to that. What `reset` has set within the last 2 x `cron_max_time` is told, as processes remember marks.
        """

    # For people

    @abstractmethod
    async def pause(self, name: str) -> None:
        """From now on refuse this cron's slots as `PAUSED`. It need not be known yet. The gate is brought forward."""

    @abstractmethod
    async def resume(self, name: str) -> None:
        """Undo `pause`, and bring the gate forward to now. Slots that were skipped while it was paused stay skipped."""

    @abstractmethod
    async def history(self, name: str | None = None, *, limit: int = 20) -> Sequence[Run]:
        """The newest lines of one cron's history, or of all crons', newest first.

        Of each cron the last `keep` runs and the last `keep` skips are kept, also when it has left the
        config; what still runs or waits to be recovered is kept besides.
        """

    @abstractmethod
    async def timelines(self, names: Collection[str], *, limit: int = 20) -> Mapping[str, Sequence[Run]]:
        """The newest lines of the history of each of these crons, newest first, without their errors and output."""

    @abstractmethod
    async def reset(self, name: str, mark: datetime) -> None:
        """Set a cron's mark, up or down, and that of its last `clock_back` with it, and bring the gate forward to now.

        The fence goes on growing.
        """

    @abstractmethod
    async def lingering(self) -> Sequence[Lingering]:
        """Return the kept leases of runs and jobs whose result is recorded, those of `finish` and `finish_jobs`."""
