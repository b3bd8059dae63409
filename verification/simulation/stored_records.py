"""The records of the model of a store: runs, leases and crons, and what living leases hold back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.backends.model import Kind, Reason, State
from pseudocron.backends.questions import Refusal

if TYPE_CHECKING:
    from pseudocron.backends.questions import Plan, Polled
    from verification.simulation.scenario import Cron

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Name = tuple[bool, str]
"""A task (True) or a cron."""


@dataclass(slots=True)
class StoredLease:
    """A living lease: of which claim, of which process, until when, and since when that is known.

    Args:
        fence: Of the claim.
        who: The process, by its number.
        until: Its end, by the clock of the store.
        since: When it was last granted or renewed, in seconds from the beginning.
        is_kept: Whether the result of its attempt is recorded.
    """

    fence: int
    who: int
    until: datetime
    since: float
    is_kept: bool = False


@dataclass(slots=True)
class StoredRun:
    """A run, as `model.Run` describes it; `counts` for `max_instances` while it is pending."""

    kind: Kind
    name: str
    due: datetime
    state: State = State.PENDING
    slot: datetime | None = None
    key: str | None = None
    expires: datetime | None = None
    at_least_once: bool = True
    counts: bool = False
    is_stopped: bool = False
    fence: int = 0
    attempts: int = 0
    failures: int = 0
    losses: int = 0

    @property
    def of(self) -> Name:
        return self.kind is Kind.JOB, self.name

    def is_expired(self, now: datetime) -> bool:
        return self.expires is not None and self.expires < now


@dataclass(slots=True)
class StoredCron:
    """A cron: `next` as the law says, `is_held` if `max_instances` has held back a slot above the mark."""

    spec: Cron
    mark: datetime | None = None
    since: datetime | None = None
    next: datetime | None = None
    is_paused: bool = False
    is_held: bool = False
    fence: int = 0

    def grow(self, slot: datetime) -> None:
        self.mark = max(self.mark or slot, slot)

    def skip(self, plan: Plan, polled: Polled) -> None:
        """Pass over the slots that a poll has skipped."""
        self.since = self.since or plan.since
        for skip in plan.skips:
            if skip.reason is not Reason.CLOCK_BACK:
                self.grow(skip.slot)
        for refused in polled.refused:
            is_overlap = refused.why is Refusal.OVERLAP and plan.coalesce
            if refused.name == plan.name and (is_overlap or refused.why is Refusal.PAUSED):
                self.grow(refused.slot)

    def store_next(self, plan: Plan, polled: Polled) -> None:
        """Note when the cron is due after a poll."""
        overlaps = [one for one in polled.refused if (one.name, one.why) == (plan.name, Refusal.OVERLAP)]
        self.is_held = bool(overlaps) and not plan.coalesce
        remaining = [slot for slot in plan.slots if self.mark is None or slot > self.mark]
        self.next = min([*remaining, *([plan.next] if plan.next else [])], default=None)

    def following(self) -> datetime | None:
        """Return the first slot above the mark; None of a cron that the store has never seen."""
        floor = max(filter(None, (self.mark, self.since)), default=None)
        if floor is None:
            return None
        every = timedelta(seconds=self.spec.every)
        return EPOCH + ((floor - EPOCH) // every + 1) * every


class Held(NamedTuple):
    """What living leases hold back."""

    living: Counter[Name]
    keys: Collection[tuple[str, str | None]]
