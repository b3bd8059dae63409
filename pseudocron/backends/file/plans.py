"""The plans of a poll: what is skipped of the slots of crons, what is claimed, and what stays above the mark."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import count, repeat
from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.file.slots import KNOW, New, begin, skip_of
from pseudocron.backends.file.stored import all_of, blockers_text, drop
from pseudocron.backends.file.transaction import YEAR_10000, Transaction, micros, micros_or_none, moment_or_none
from pseudocron.backends.legible import EPOCH, MICROSECOND, instant
from pseudocron.backends.model import Blocker, Kind, Reason, Skip, State
from pseudocron.backends.questions import Claim, Refusal, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pseudocron.backends.file.pending import Capacity
    from pseudocron.backends.model import Run
    from pseudocron.backends.questions import Plan, Take

_CRON = "SELECT mark, since, back, next, held, missed, schedule, replaced, paused FROM crons WHERE name = ?"
_CHANGE = """
    UPDATE crons SET mark = ?, since = ?, back = ?, next = ?, held = ?, missed = ?, schedule = ?, replaced = ?
    WHERE name = ?"""
_COUNT_TAKEOVER = "UPDATE meta SET takeovers = takeovers + 1"
_BLOCKERS = """
    SELECT runs.run_id, ifnull(living.worker, runs.worker)
    FROM runs LEFT JOIN living ON living.run_id = runs.run_id
    WHERE runs.id IN (
        SELECT id FROM living WHERE is_job = 0 AND name = ?
        UNION SELECT id FROM pending WHERE is_job = 0 AND name = ? AND counts
    ) ORDER BY runs.id"""
_REPLACEABLE = """
    runs.id IN (SELECT id FROM pending WHERE is_job = 0 AND name = ?) AND NOT at_least_once ORDER BY runs.id"""
_PLACE = "SELECT ifnull(max(id), 0) FROM runs"
_LATEST_LINE = f"""
    SELECT id, {", ".join(Skip._fields)} FROM skips WHERE name = :name AND place >= (
        SELECT ifnull(max(id), 0) FROM runs WHERE name = :name AND kind IN ('slot', 'manual')
    ) ORDER BY id DESC LIMIT 1"""  # noqa: S608 - our own
"""The newest skip of a cron, unless a run has begun since."""
_MERGE = "UPDATE skips SET slot = ?, first = ?, slots = ?, updated = ? WHERE id = ?"
_RECORD = f"INSERT INTO skips (place, {', '.join(Skip._fields)}) VALUES (?{', ?' * len(Skip._fields)})"  # noqa: S608
_TRIM = """
    DELETE FROM skips WHERE id IN (SELECT id FROM skips WHERE name = ? ORDER BY id DESC LIMIT -1 OFFSET ?)"""


class Cron:
    """A cron whose plan is carried out; `store` writes what has changed of its row.

    Args:
        txn: The transaction.
        plan: The plan.
        worker: Which process plans.
    """

    def __init__(self, txn: Transaction, plan: Plan, worker: str) -> None:
        self._txn = txn
        self._worker = worker
        self.plan = plan
        self._row = txn.db.execute(_CRON, (plan.name,)).fetchone()
        row = self._row or (None, None, None, None, 0, 0, None, None, 0)
        self.mark: int | None
        self._since: int | None
        self._back: int | None
        self.mark, self._since, self._back = row[:3]
        for value in row[:3]:
            if value is not None and not (type(value) is int and -YEAR_10000 < value < YEAR_10000):  # it is harmed
                self.mark, self._since, self._back = map(moment_or_none, row[:3])
        self._missed: int = row[5]
        self._schedule: str | None = row[6]
        self._replaced: str | None = row[7]
        self.paused = bool(row[8])
        self.remaining: list[int] = []
        self.is_held = False

    def is_current(self) -> bool:
        """Return whether the plan was computed from what is stored; see `rules.is_current`."""
        plan, since, schedule = self.plan, self._since, self._schedule
        mark = None if plan.mark is None else (plan.mark - EPOCH) // MICROSECOND
        return bool(
            self.mark == mark
            and (since is None or since == (plan.since - EPOCH) // MICROSECOND)
            and (schedule is None or schedule == (plan.schedule if plan.replaces is None else plan.replaces))
        )

    def take_over(self, old: str) -> None:
        """Note which schedule is replaced."""
        before = () if self._replaced is None else json.loads(self._replaced)
        self._replaced = json.dumps(rules.replaced(before, old, self.plan.schedule))
        self._txn.db.execute(_COUNT_TAKEOVER)

    def record_skips(self) -> None:
        """Record what the plan skips."""
        for skip in self.plan.skips:
            slot = micros(skip.slot)
            if skip.reason is not Reason.CLOCK_BACK:
                self.skip(skip)
                self.raise_mark(slot)
            elif self._back is None or slot > self._back:
                self.skip(skip)
                self._back = slot

    def skip(self, skip: Skip) -> None:
        """Record a skip, or add it to the newest one if no run has begun since."""
        txn, now = self._txn, instant(self._txn.now)
        row = txn.db.execute(_LATEST_LINE, {"name": skip.name}).fetchone()
        newest = None if row is None else skip_of(row[1:])
        if newest is not None and newest.reason == skip.reason:
            one = rules.merged(newest, skip, now=now)
            values = (micros(one.slot), micros_or_none(one.first), one.slots, txn.now, row[0])
            txn.db.execute(_MERGE, values)
        else:
            place = txn.db.execute(_PLACE).fetchone()[0]
            txn.db.execute(_RECORD, (place, *_columns(skip, txn.now, self._worker)))
            txn.db.execute(_TRIM, (skip.name, txn.terms.keep))
        self._missed += skip.slots

    def raise_mark(self, slot: int) -> None:
        """Let the mark grow."""
        self.mark = slot if self.mark is None else max(self.mark, slot)

    def claim(self, slot: datetime, number: int, take: Take) -> Claim:
        """Claim a slot; the runs that it replaces are dropped before."""
        plan = self.plan
        new = New(
            Kind.SLOT,
            plan.name,
            (slot - EPOCH) // MICROSECOND,
            plan.at_least_once,
            plan.coalesce,
            plan.waited[number] if plan.waited else None,
        )
        self._txn.db.execute(KNOW, (plan.name,))
        return begin(self._txn, new, worker=take.worker, lease=take.lease)

    def replace(self) -> list[Run]:
        """Let pending retries give way to a later slot."""
        if not self.plan.coalesce:
            return []
        replaceable = list(all_of(self._txn, _REPLACEABLE, self.plan.name))
        return [drop(self._txn, one, State.REPLACED) for one in replaceable] if replaceable else []

    def blockers(self) -> tuple[Blocker, ...]:
        """Return the runs that count for `max_instances`."""
        rows = self._txn.db.execute(_BLOCKERS, (self.plan.name, self.plan.name)).fetchall()
        return tuple(Blocker(run_id, worker or "") for run_id, worker in rows) if rows else ()

    def store(self) -> None:
        """Write what has changed."""
        plan, since, counts_from = self.plan, self._since, self.plan.counts_from
        due = None if plan.next is None else (plan.next - EPOCH) // MICROSECOND
        if self.remaining:
            due = min(self.remaining) if due is None else min(due, *self.remaining)
        if since is None or counts_from is not None:
            since = ((counts_from or plan.since) - EPOCH) // MICROSECOND
        values = (self.mark, since, self._back, due, int(self.is_held), self._missed, plan.schedule, self._replaced)
        if self._row is None or values != self._row[:8]:
            self._txn.db.execute(KNOW, (plan.name,))
            self._txn.db.execute(_CHANGE, (*values, plan.name))


def _columns(skip: Skip, now: int, worker: str) -> tuple[object, ...]:
    return (
        skip.name,
        micros(skip.slot),
        skip.reason.value,
        skip.slots,
        micros_or_none(skip.first),
        micros_or_none(skip.since),
        blockers_text(skip.blockers),
        now,
        now,
        worker,
    )


class Slots:
    """The claims of slots in one poll.

    Args:
        txn: The transaction.
        take: What the process may claim.
        capacity: How many runs it may start.
    """

    def __init__(self, txn: Transaction, take: Take, capacity: Capacity) -> None:
        self._txn = txn
        self._take = take
        self._capacity = capacity
        self._now = EPOCH + timedelta(microseconds=txn.now)
        self.claims: list[Claim] = []
        self.refused: list[Refused] = []
        self.dropped: list[Run] = []
        self.left = False

    def carry_out(self, plans: Iterable[Plan]) -> set[str]:
        """Carry out the plans that are current; return the names of their crons."""
        crons: list[Cron] = []
        slots: list[tuple[datetime, int, int, Cron]] = []
        for plan in plans:
            cron = Cron(self._txn, plan, self._take.worker)
            if cron.is_current():
                slots += zip(plan.slots, repeat(len(crons)), count(), repeat(cron))
                crons.append(cron)
        for cron in crons:
            if cron.plan.replaces is not None:
                cron.take_over(cron.plan.replaces)
            if cron.plan.skips:
                cron.record_skips()
        for slot, _, number, cron in sorted(slots):
            moment = (slot - EPOCH) // MICROSECOND
            if cron.mark is None or moment > cron.mark:
                if self._is_dealt_with(cron, slot, number):
                    cron.mark = moment
                else:
                    cron.remaining.append(moment)
        names = set()
        for cron in crons:
            cron.store()
            names.add(cron.plan.name)
        return names

    def _is_dealt_with(self, cron: Cron, slot: datetime, number: int) -> bool:
        """Claim, refuse or skip a slot; return False if it stays above the mark."""
        name = cron.plan.name
        if slot > self._now:
            return self._refuse(cron, slot, Refusal.EARLY)
        if (Kind.SLOT, name) in self._take.resting or not self._capacity.left(0):
            self.left = True
            return False
        if cron.paused:
            cron.skip(Skip(name, slot, Reason.PAUSED))
            self._refuse(cron, slot, Refusal.PAUSED)
            return True
        blockers = cron.blockers()
        if len(blockers) >= self._take.crons.get(name, 1):
            return self._overlap(cron, slot, blockers)
        self.dropped += cron.replace()
        self.claims.append(cron.claim(slot, number, self._take))
        self._capacity.use(0)
        return True

    def _overlap(self, cron: Cron, slot: datetime, blockers: tuple[Blocker, ...]) -> bool:
        self._refuse(cron, slot, Refusal.OVERLAP, blockers)
        if not cron.plan.coalesce:
            cron.is_held = True
            return False
        cron.skip(Skip(cron.plan.name, slot, Reason.OVERLAP, blockers=blockers))
        return True

    def _refuse(self, cron: Cron, slot: datetime, why: Refusal, blockers: Sequence[Blocker] = ()) -> bool:
        self.refused.append(Refused(cron.plan.name, slot, why, tuple(blockers)))
        return False
