"""What the contract of a backend speaks of: slots, claims, runs, and what is known of a cron."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
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
class Waited:
    """Where the lateness of a run comes from: seconds from when its slot came due until the look began that claimed it.

    They are what the process that looked knows of itself; others may have been held up otherwise. What is left of the
    lateness is the cron's jitter, before, and the look with its claim, behind.

    Args:
        request: Nobody came by: no request, no ticker, no `tick`.
        gate: The gate was fresh, so that who came by did not look. Known of the last hundred times that it was read.
        place: This process had no free place, or the cron none of its own, so that another run had to end.
        store: The store was away, from when this process first found it so.
    """

    request: float = 0.0
    gate: float = 0.0
    place: float = 0.0
    store: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """A run in the way of another one, by whose lease it was living."""

    run_id: str
    worker: str


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
        waited: What the slot has waited for, to be recorded with its run; None where nobody measured it.
    """

    name: str
    slot: datetime
    worker: str
    lease: float
    max_instances: int = 1
    recover: bool = False
    recovers: str | None = None
    manual: bool = False
    waited: Waited | None = None


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
    """Slots that will not run: the latest of them, how many they are, and why.

    Args:
        name: The cron's name.
        slot: The latest of them.
        reason: Why.
        slots: How many they are.
        first: The first of them; None if that is the latest.
        since: As far as is known: of `no_traffic` the last look before, of `backend_down` when the store went away.
        blockers: Of an `overlap`: the runs that were living.
    """

    name: str
    slot: datetime
    reason: Reason
    slots: int = 1
    first: datetime | None = None
    since: datetime | None = None
    blockers: tuple[Blocker, ...] = ()


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
    `slot` is the latest and `first` the first; its `started` and `ended` say when the first and the last of them
    were recorded, its `fence` and `attempt` are 0, its `since` and `blockers` are those of its first `Skip`.
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
    first: datetime | None = None
    since: datetime | None = None
    blockers: tuple[Blocker, ...] = ()
    waited: Waited | None = None
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
    """What `reap` found.

    Args:
        lost: The runs that it has just ended as lost.
        orphans: Those that wait to be recovered.
        reset: The crons whose marks were set by `Backend.reset` within the last 2 x `cron_max_time`.
    """

    lost: Sequence[Run] = field(default_factory=tuple)
    orphans: Sequence[Run] = field(default_factory=tuple)
    reset: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lingering:
    """A living lease whose run has ended: the result is recorded, but its code still runs, as a thread can't be killed.

    Args:
        name: The name of the cron, or of the job's task.
        is_job: Whether the run was one of a job.
        run_id: The id of the run, or of the job.
        worker: The process in which the code runs (`host:pid`).
        ended: When the result was recorded, aware UTC; None if that is not known.
    """

    name: str
    is_job: bool
    run_id: str
    worker: str
    ended: datetime | None = None
