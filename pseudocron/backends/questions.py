"""Questions and answers: what the verbs of a store take and return. What it keeps is in `pseudocron.backends.model`.

Instants are aware UTC `datetime`s, durations are seconds. All records are immutable.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.backends.model import Conflict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.model import Blocker, CronState, Kind, Run, Skip, State, Waited


class Refusal(StrEnum):
    """Why a slot or a manual run was not claimed."""

    EARLY = "early"  # by the store's clock the slot has not come yet
    OVERLAP = "overlap"  # `max_instances` runs of the cron are living
    PAUSED = "paused"


class States(NamedTuple):
    """The answer of `Backend.states`.

    Args:
        now: The store's clock.
        crons: The state of each cron that was asked for.
        polled: When any process polled last; None if none has.
        cron_max_time: The largest `CRON_MAX_TIME` in use, in seconds.
    """

    now: datetime
    crons: Mapping[str, CronState]
    polled: datetime | None = None
    cron_max_time: float = 0.0


class Plan(NamedTuple):
    """What a poll wants for one cron.

    Args:
        name: The name of the cron.
        mark: The `CronState.mark` that the plan was computed from. If this, `since` or the schedule is no longer the
            stored one, nothing of the plan is done, and the cron is in `Polled.outdated`.
        since: The `CronState.since` that the plan was computed from; of a cron that has none, what it becomes.
        slots: The slots to claim, oldest first, at most 100; a coalescing cron has one at most.
        skips: What to record before that, oldest first.
        next: When the cron is due next if all of `slots` are dealt with; None if never.
        coalesce: Whether a slot that can't be claimed for `max_instances` is skipped as an `overlap`. If not, it stays
            above the mark. Whether a later slot replaces a pending retry that is not `at_least_once`.
        at_least_once: Whether the runs of these slots become pending again when they are lost.
        waited: Where the lateness of each of `slots` comes from; empty if that was not measured.
        schedule: The schedule as text.
        replaces: The stored schedule from which this one takes over; None if it goes on.
        counts_from: What `CronState.since` becomes, if the schedule takes over, or was away; None if that stays.
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
    replaces: str | None = None
    counts_from: datetime | None = None


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
        crons: The enabled crons, each with its `max_instances`; without those whose stored schedule is a newer one.
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
        outdated: The crons of this process that were not planned, or from a state that is no longer the stored one,
            although they are due: they are to be planned from this state, and polled with `force`.
        lost: The runs whose leases were over, in their new states.
        dropped: Pending runs that ended without being started: expired, or replaced by a later slot.
        left: Whether something due was left that this process may start when it has capacity again.
        takeovers: How many schedules have taken over in this store, ever. When it has grown, what a process remembers
            of its crons may be out of date.
    """

    fresh_for: float
    claims: Sequence[Claim] = ()
    refused: Sequence[Refused] = ()
    outdated: Mapping[str, CronState] = {}
    lost: Sequence[Run] = ()
    dropped: Sequence[Run] = ()
    left: bool = False
    takeovers: int = 0


class End(NamedTuple):
    """How an attempt ended.

    Args:
        claim: The attempt.
        outcome: `succeeded`, `failed`, `timed_out` or `interrupted`.
        due: When the next attempt is due; an instant in the past means now. None if there is to be none.
        counts: Whether it counts as an attempt, and a failed one as a failure. One that a shutdown hands back does
            not, nor one whose arguments do not fit.
        error: The traceback, of which the last 64 KiB are kept.
        output: What its code wrote, of which the last 64 KiB are kept.
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
