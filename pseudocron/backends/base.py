"""The contract of a backend: the gate, the memory of slots, the history of runs; `jobs` has that of the queue.

This docstring and those of the verbs are the law; a backend fulfils them and adds no rules of its own.

- Every verb is atomic: whatever dies in the middle of it, all of it has happened or nothing has. When a
  verb has returned, its effect is as durable as the backend is.
- Verbs of all processes that share a store happen one after another, in one order that all of them see.
- The backend's own clock decides whether a slot has come and whether a lease is over; callers propose by `ahead`.
- A verb that can't do its work raises `BackendError`, and has then changed nothing.
- Instants are aware UTC, kept to `precision`; durations are seconds.
- `renew` and `renew_jobs` block and may be called from any thread; every other verb is a coroutine that never
  blocks its event loop, and is at most one hop off it. The verbs want an open backend; it may be opened again
  after `close`, on another loop.
- Everything in a store belongs to one application name, handed in where the backend is made.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from pseudocron.backends.jobs import Queue

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    SKIPPED = "skipped"


class Reason(StrEnum):
    """Why a slot was skipped."""

    OVERLAP = "overlap"
    MISFIRE = "misfire"
    PAUSED = "paused"
    DISABLED = "disabled"
    BACKEND_DOWN = "backend_down"
    CLOCK_BACK = "clock_back"
    NO_TRAFFIC = "no_traffic"


class Refusal(StrEnum):
    """Why `claim` did not grant a slot."""

    TAKEN = "taken"  # the slot is not above the mark: it was claimed, skipped or missed before
    EARLY = "early"  # by the backend's clock the slot has not come yet
    OVERLAP = "overlap"  # `max_instances` leases of the cron are living; recorded, the mark advanced
    PAUSED = "paused"  # the cron is paused; recorded, the mark advanced


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a process asks for when it wants to run one slot.

    Args:
        name: The cron's name.
        slot: The scheduled instant.
        worker: Who asks, for people to read (`host:pid`).
        lease: Seconds for which the claim holds unless renewed.
        max_instances: How many living leases of this cron there may be, with this one.
        recover: Whether the slot is to be claimed anew if the run is lost or interrupted.
        recovers: The `run_id` of a lost or interrupted run whose slot this claim takes over.
        manual: Somebody wants a run now, whatever the schedule says; goes with neither `recover` nor `recovers`.
    """

    name: str
    slot: datetime
    worker: str
    lease: float
    max_instances: int = 1
    recover: bool = False
    recovers: str | None = None
    manual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The exclusive right to run one slot, until its lease is over.

    `fence` grows with every claim of the same cron; `attempt` counts the claims of the same slot, from 1, each
    but the first having recovered the one before.
    """

    name: str
    slot: datetime
    run_id: str
    fence: int
    attempt: int
    started: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Slots that will not run: the latest of them, how many they are, and why."""

    name: str
    slot: datetime
    reason: Reason
    slots: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is to be recorded of a run that ended: `error` is a traceback, `output` what a script wrote."""

    outcome: Outcome
    error: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One line of a cron's history, of a run or of slots that were skipped.

    `outcome` is None while the run goes on. A skip has a `reason`, and stands for `slots` slots of which
    `slot` is the latest; its `started` and `ended` say when the first and the last of them were recorded,
    its `fence` and `attempt` are 0.
    """

    run_id: str
    name: str
    slot: datetime
    fence: int
    attempt: int
    worker: str
    started: datetime
    ended: datetime | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    slots: int = 1
    error: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is known of a cron.

    `mark` is its highest claimed or skipped slot, `back` that of its last `clock_back`. `runs` counts claims,
    `failures` the runs that ended otherwise than `succeeded`, `missed` the slots skipped; unlike the history they
    are never trimmed. `last` is its latest run that was not a skip, `running` the number of its living leases.
    """

    name: str
    mark: datetime
    back: datetime | None = None
    paused: bool = False
    runs: int = 0
    failures: int = 0
    missed: int = 0
    running: int = 0
    last: Run | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """What `reap` found: the runs it has just ended as lost, and those that wait to be recovered."""

    lost: Sequence[Run] = field(default_factory=tuple)
    orphans: Sequence[Run] = field(default_factory=tuple)


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
    async def lower(self, due: datetime, max_age: float) -> None:
        """Let the gate turn stale at `due`, if that is sooner than it would be; one that is stale stays so."""

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
           cron is `PAUSED` and a cron with `max_instances` living leases `OVERLAP`, both recorded as skips;
        4. else the claim is granted: a fence higher than any before it of this cron, a lease that ends
           `lease` seconds from now, and a run in the history.

        With `manual` rules 1 to 3 fall away: the slot is the moment of the claim by the backend's clock, whatever
        was proposed; the mark stays, or stays unset; a paused cron is claimed all the same. Where `max_instances`
        leases are living it is an `OVERLAP`, not recorded. What is granted is a claim as any other.
        A cron never seen before has no mark, and any slot is above it.
        """

    @abstractmethod
    async def skip(self, skips: Sequence[Skip]) -> None:
        """Record slots that will not run, and let the marks grow to them.

        A skip of the same reason as the cron's newest line of history is added to that line. A skip that is
        not above the mark is not recorded again.
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
        recovered. Of the error and of the output the last 64 KiB are kept.
        """

    @abstractmethod
    async def release(self, claim: Claim) -> None:
        """End a lease that `finish` has kept; that of a run that is not finished stays."""

    @abstractmethod
    async def reap(self) -> Reaped:
        """End the leases that are over; their runs, if not finished, become `lost`.

        A run with `recover` that is lost or interrupted waits, in `orphans` of this and every later call,
        until a claim of its slot with `recovers` takes it over.
        """

    # For people

    @abstractmethod
    async def pause(self, name: str) -> None:
        """From now on refuse this cron's slots as `PAUSED`. It need not be known yet."""

    @abstractmethod
    async def resume(self, name: str) -> None:
        """Undo `pause`. The slots that came meanwhile and were skipped stay skipped."""

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
        """Set a cron's mark, up or down, and that of its last `clock_back` with it. The fence goes on growing."""
