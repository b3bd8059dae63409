"""The data of the contract: what a store keeps, what it is asked, and what it answers.

Instants are aware UTC `datetime`s, durations are seconds. All records are immutable.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


class Kind(StrEnum):
    """What a run executes."""

    SLOT = "slot"  # one scheduled instant of a cron
    JOB = "job"  # a deferred call of a task
    MANUAL = "manual"  # a cron, started by hand


class State(StrEnum):
    """Where a run stands. Nothing follows any state but the first two, except after `Backend.retry`."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    EXPIRED = "expired"


class Reason(StrEnum):
    """Why slots were skipped."""

    OVERLAP = "overlap"
    MISFIRE = "misfire"
    PAUSED = "paused"
    DISABLED = "disabled"
    BACKEND_DOWN = "backend_down"
    CLOCK_BACK = "clock_back"
    NO_TRAFFIC = "no_traffic"
    CHANGED = "changed"


class Refusal(StrEnum):
    """Why a slot or a manual run was not claimed."""

    EARLY = "early"  # by the store's clock the slot has not come yet
    OVERLAP = "overlap"  # `max_instances` runs of the cron are living
    PAUSED = "paused"


class Conflict(StrEnum):
    """What becomes of a job whose key another pending job of its task has."""

    REPLACE = "replace"  # the newest wins; the older one ends as replaced
    KEEP = "keep"  # the older one stays; the new one is not stored
    RAISE = "raise"  # `JobConflictError`, and nothing of the call is stored


class Waited(NamedTuple):
    """Where the lateness of a run comes from: seconds between the slot and the poll that claimed it.

    Args:
        request: No request, ticker or `tick` came.
        gate: The gate was fresh.
        capacity: The process had no free capacity, or the cron was at `max_instances`.
        store: The store was away.
    """

    request: float = 0.0
    gate: float = 0.0
    capacity: float = 0.0
    store: float = 0.0


class Blocker(NamedTuple):
    """A living run that kept a slot from being claimed."""

    run_id: str
    worker: str


class Attempt(NamedTuple):
    """An earlier attempt of a run; the latest one is described by the run itself."""

    worker: str
    started: datetime
    ended: datetime
    outcome: State
    error: str | None = None  # the last line of the traceback


class Run(NamedTuple):
    """One execution of a target, from when it is stored to its end.

    Args:
        run_id: Unique in the store. Of a job it is the id that `defer` returned.
        kind: What it executes.
        name: The name of the cron, or of the job's task.
        state: Where it stands.
        due: Not before this instant: the slot, a job's due time, or when its next attempt is due.
        created: When it was stored: a job when it was deferred, a slot when it was claimed.
        slot: The scheduled instant of a cron's run; of a manual run the moment of its start; None of a job.
        key: Unique among the pending jobs of a task, if given.
        arguments: What a job calls its task with, as JSON.
        priority: Of pending runs of a kind that are due, the highest starts first.
        expires: Not started after this instant, if given.
        at_least_once: Whether it becomes pending again when it is lost. Of jobs always true.
        attempts: How many claims it had, without those that were handed back or did not fit.
        failures: How many of them failed or timed out.
        lost: How many of them were lost.
        fence: Grows with every claim of the same cron, or of the same job. 0 before the first claim.
        worker: Which process has or had the latest attempt (`host:pid`).
        started: When the latest attempt was claimed.
        ended: When the latest attempt ended; of a run that was never started, when that was decided.
        reason: Why it is in a final state other than `succeeded`, in a few words.
        error: The traceback of the latest attempt that failed, its last 64 KiB.
        output: What a script of the latest attempt wrote, its last 64 KiB.
        waited: Where its lateness came from; None if that was not measured.
        unfit_since: Since when the arguments did not fit the task; None if the latest attempt did.
        is_kept: Whether its lease is living although the result is recorded: its code still runs.
        earlier: Its earlier attempts, oldest first, at most the last 10.
    """

    run_id: str
    kind: Kind
    name: str
    state: State
    due: datetime
    created: datetime
    slot: datetime | None = None
    key: str | None = None
    arguments: str | None = None
    priority: int = 0
    expires: datetime | None = None
    at_least_once: bool = False
    attempts: int = 0
    failures: int = 0
    lost: int = 0
    fence: int = 0
    worker: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    reason: str | None = None
    error: str | None = None
    output: str | None = None
    waited: Waited | None = None
    unfit_since: datetime | None = None
    is_kept: bool = False
    earlier: tuple[Attempt, ...] = ()


class Skip(NamedTuple):
    """Slots of a cron that will not run.

    Args:
        name: The name of the cron.
        slot: The last of them.
        reason: Why.
        slots: How many they are.
        first: The first of them; None if that is the last.
        since: Of `no_traffic` the poll before, of `backend_down` when the store went away, if known.
        blockers: Of an `overlap`: the runs that were living.
        recorded: When the first of them was recorded. None in a `Plan`.
        updated: When the last of them was recorded. None in a `Plan`.
        worker: Which process recorded the first of them (`host:pid`). None in a `Plan`.
    """

    name: str
    slot: datetime
    reason: Reason
    slots: int = 1
    first: datetime | None = None
    since: datetime | None = None
    blockers: tuple[Blocker, ...] = ()
    recorded: datetime | None = None
    updated: datetime | None = None
    worker: str | None = None


class CronState(NamedTuple):
    """What the store knows of a cron. A cron that it has never seen has a state too, with a `mark` of None.

    Args:
        name: The name of the cron.
        mark: The highest slot that was claimed or skipped; only grows, except by `reset`.
        since: The schedule counts from this instant: no slot up to it is due.
        back: The last slot of the latest `clock_back` skip.
        next: When the cron is due next, as the last poll that planned it has computed.
        paused: Whether its slots are refused.
        running: How many of its runs count for `max_instances`: the living ones, and pending ones that count.
        claims: How many claims there were.
        failures: How many runs ended otherwise than `succeeded`.
        missed: How many slots were skipped.
        schedule: The schedule that counts, as text.
    """

    name: str
    mark: datetime | None = None
    since: datetime | None = None
    back: datetime | None = None
    next: datetime | None = None
    paused: bool = False
    running: int = 0
    claims: int = 0
    failures: int = 0
    missed: int = 0
    schedule: str | None = None

    @property
    def floor(self) -> datetime | None:
        """The instant above which slots are due: the higher one of `mark` and `since`; None if there is neither."""
        return max(filter(None, (self.mark, self.since)), default=None)


class States(NamedTuple):
    """The answer of `Backend.states`.

    Args:
        now: The store's clock.
        crons: The state of each cron that was asked for.
        polled: When any process polled last; None if none has.
    """

    now: datetime
    crons: Mapping[str, CronState]
    polled: datetime | None = None


class Plan(NamedTuple):
    """What a poll wants for one cron.

    Args:
        name: The name of the cron.
        mark: The `CronState.mark` that the plan was computed from. If it is no longer the stored one, nothing of the
            plan is done, and the cron is in `Polled.outdated`.
        since: The `CronState.since` of a cron that the store has never seen.
        slots: The slots to claim, oldest first, at most 100; a coalescing cron has one at most.
        skips: What to record before that, oldest first.
        next: When the cron is due next if all of `slots` are dealt with; None if never.
        coalesce: Whether a slot that can't be claimed for `max_instances` is skipped as an `overlap`. If not, it stays
            above the mark. Whether a later slot replaces a pending retry that is not `at_least_once`.
        at_least_once: Whether the runs of these slots become pending again when they are lost.
        waited: Where the lateness of each of `slots` comes from; empty if that was not measured.
        schedule: The schedule as text.
    """

    name: str
    mark: datetime | None
    since: datetime
    slots: Sequence[datetime] = ()
    skips: Sequence[Skip] = ()
    next: datetime | None = None
    coalesce: bool = True
    at_least_once: bool = False
    waited: Sequence[Waited] = ()
    schedule: str = ""


class Capacity(NamedTuple):
    """How many runs a process may start now.

    Args:
        total: Of all kinds together.
        slots: Of slots, retries of slots included.
        jobs: Of jobs.
    """

    total: int
    slots: int
    jobs: int


class Take(NamedTuple):
    """What a process may claim. The names in it are *in use* from now on.

    Args:
        tasks: The registered tasks, each with how many living jobs of it there may be (None: any number).
        crons: The enabled crons, each with its `max_instances`.
        capacity: How many runs the process may start.
        worker: Which process asks, for people to read (`host:pid`).
        lease: Seconds for which the claims hold unless renewed.
        resting: Tasks and crons of the process that can't be started now, as they need a thread and there is none.
            They are in use, and what is due of them counts.
    """

    tasks: Mapping[str, int | None]
    crons: Mapping[str, int]
    capacity: Capacity
    worker: str
    lease: float
    resting: Collection[tuple[Kind, str]] = ()


class Poll(NamedTuple):
    """The question of `Backend.poll`.

    Args:
        take: What the process may claim.
        plans: What it wants for crons, in any order.
        holding: The claims that the process holds. Their leases are renewed first, or else a process that was
            suspended would end its own leases.
        force: Poll although the gate is fresh.
    """

    take: Take
    plans: Sequence[Plan] = ()
    holding: Sequence[Claim] = ()
    force: bool = False


class Claim(NamedTuple):
    """The exclusive right to execute a run, until its lease is over.

    Args:
        run_id: The run.
        kind: Its kind.
        name: Its cron or task.
        due: When this attempt was due.
        fence: Grows with every claim of the same cron, or of the same job.
        attempt: Which attempt this is, from 1.
        failures: How many earlier attempts failed or timed out.
        started: When it was claimed.
        slot: The scheduled instant of a cron's run.
        arguments: What a job calls its task with, as JSON.
        key: The key of a job.
        unfit_since: Since when the arguments have not fitted the task, if the latest attempt did not fit.
    """

    run_id: str
    kind: Kind
    name: str
    due: datetime
    fence: int
    attempt: int
    failures: int
    started: datetime
    slot: datetime | None = None
    arguments: str | None = None
    key: str | None = None
    unfit_since: datetime | None = None


class Refused(NamedTuple):
    """A slot of a plan that was not claimed, other than for want of capacity."""

    name: str
    slot: datetime
    why: Refusal
    blockers: tuple[Blocker, ...] = ()


class Polled(NamedTuple):
    """The answer of `Backend.poll`.

    Args:
        fresh_for: Seconds until the gate turns stale; 0 if something due remains, for this process or others.
        claims: What was claimed.
        refused: Slots that were not claimed. Those refused as `overlap` or `paused` of a coalescing cron are skipped.
        outdated: The crons of this process that were not planned, or by a `mark` that is no longer the stored one,
            although they are due: they are to be planned from this state, and polled with `force`.
        lost: The runs whose leases were over, in their new states.
        dropped: Pending runs that ended without being started: expired, or replaced by a later slot.
        left: Whether something due was left that this process may start when it has capacity again.
    """

    fresh_for: float
    claims: Sequence[Claim] = ()
    refused: Sequence[Refused] = ()
    outdated: Mapping[str, CronState] = {}
    lost: Sequence[Run] = ()
    dropped: Sequence[Run] = ()
    left: bool = False


class End(NamedTuple):
    """How an attempt ended.

    Args:
        claim: The attempt.
        outcome: `succeeded`, `failed`, `timed_out` or `interrupted`.
        due: When the next attempt is due; an instant in the past means now. None if there is to be none.
        counts: Whether it counts as an attempt, and a failed one as a failure. One that a shutdown hands back does
            not, nor one whose arguments do not fit.
        error: The traceback, of which the last 64 KiB are kept.
        output: What a script wrote, of which the last 64 KiB are kept.
        reason: Why the run is in its final state, in a few words.
        goes_on: Whether its code still runs, as a thread can't be killed. The lease is kept, to be renewed, until
            `Backend.release` or the end of the lease.
        unfit: Whether the stored arguments do not fit the task as it is here.
    """

    claim: Claim
    outcome: State
    due: datetime | None = None
    counts: bool = True
    error: str | None = None
    output: str | None = None
    reason: str | None = None
    goes_on: bool = False
    unfit: bool = False


class Finished(NamedTuple):
    """The answer of `Backend.finish`.

    Args:
        states: The state of each run after its end; None if the claim no longer held the run.
        claims: What was claimed by `take`.
        dropped: Pending runs that ended without being started.
        left: Whether something due was left that this process may start when it has capacity again.
        fresh_for: Seconds until the gate turns stale.
    """

    states: Sequence[State | None]
    fresh_for: float
    claims: Sequence[Claim] = ()
    dropped: Sequence[Run] = ()
    left: bool = False


class NewJob(NamedTuple):
    """A job to be stored.

    Args:
        run_id: Made by the caller, and unique, so that a call whose answer was lost may be repeated.
        task: The name of the registered task.
        arguments: What it is called with, as JSON.
        due: Not before this instant; one in the past means now.
        key: Unique among the pending jobs of the task, if given.
        on_conflict: What becomes of the pending job that has the key.
        priority: Of the jobs that are due, the highest starts first.
        expires: Not started after this instant, if given.
    """

    run_id: str
    task: str
    arguments: str
    due: datetime
    key: str | None = None
    on_conflict: Conflict = Conflict.REPLACE
    priority: int = 0
    expires: datetime | None = None


class Manual(NamedTuple):
    """A run of a cron that is started by hand, whatever its schedule says.

    Args:
        name: The name of the cron.
        worker: Which process starts it (`host:pid`).
        lease: Seconds for which the claim holds unless renewed.
        max_instances: How many living runs of the cron there may be, this one included.
    """

    name: str
    worker: str
    lease: float
    max_instances: int = 1


class Where(NamedTuple):
    """Which runs to return; every condition that is given must hold.

    Args:
        states: In one of these states; in any, if empty.
        kinds: Of one of these kinds; of any, if empty.
        name: Of this cron or task.
        key: With this key.
        is_kept: Whether only those whose lease is living although the result is recorded.
    """

    states: Collection[State] = ()
    kinds: Collection[Kind] = ()
    name: str | None = None
    key: str | None = None
    is_kept: bool = False


LOST_AT_MOST = 3
"""A run that was lost so often has taken its workers with it: it is `failed`, and not pending again."""

PRECISION = timedelta(microseconds=1)
"""The smallest step that instants keep."""
