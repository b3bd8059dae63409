"""One poll, in the order of the contract; the gate is the business of the backend."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.file.earliest import COUNTING, IS_SEEN, SHORTEST, earliest
from pseudocron.backends.file.pending import Capacity, claim
from pseudocron.backends.file.plans import Slots
from pseudocron.backends.file.runs import end_leases, renew
from pseudocron.backends.file.slots import state
from pseudocron.backends.file.transaction import SECOND
from pseudocron.backends.model import Kind
from pseudocron.backends.questions import Polled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pseudocron.backends.file.transaction import Transaction
    from pseudocron.backends.model import CronState
    from pseudocron.backends.questions import Poll, Take

_PACE = f"(SELECT min(ifnull({SHORTEST}, :own), :own))"
_NAMED = f"SELECT is_job, name, max_instances FROM names WHERE {IS_SEEN.format(_PACE)}"  # noqa: S608 - our own
_NAME = """
    INSERT INTO names (is_job, name, seen, max_instances) VALUES (?, ?, ?, ?)
    ON CONFLICT (is_job, name) DO UPDATE SET seen = excluded.seen, max_instances = excluded.max_instances"""
_IS_PACE_SEEN = f"SELECT 1 FROM paces WHERE cron_max_time = :own AND {IS_SEEN.format(':own')}"  # noqa: S608
_SET_PACE = """
    INSERT INTO paces VALUES (?, ?) ON CONFLICT (cron_max_time) DO UPDATE SET seen = excluded.seen"""
_FORGET_PACES = f"DELETE FROM paces WHERE seen < ? - {rules.IN_USE_FOR} * cron_max_time * {SECOND}"  # noqa: S608
_IS_POLL_SEEN = f"SELECT 1 FROM meta WHERE {IS_SEEN.format(':own').replace('seen', 'polled')}"  # noqa: S608
_SET_POLLED = "UPDATE meta SET polled = ?"
_TAKEOVERS = "SELECT CAST(takeovers AS INTEGER) FROM meta"
_DUE = f"""
    SELECT crons.name FROM crons LEFT JOIN names ON is_job = 0 AND names.name = crons.name
    WHERE next <= ? AND NOT paused AND NOT (
        held AND max_instances IS NOT NULL AND max_instances <= {COUNTING.format("crons.name")})"""  # noqa: S608 - our own


def poll(txn: Transaction, asked: Poll) -> tuple[Polled, int]:
    """Do what is due.

    Returns:
        The answer, and the instant at which the gate is to turn stale.
    """
    before, take, plans = txn.db.total_changes, asked.take, asked.plans
    if asked.holding:
        renew(txn, asked.holding, take.lease)
    lost, dropped = end_leases(txn)
    _name(txn, take)
    slots, capacity, current = None, None, set[str]()
    if plans:
        capacity = Capacity(take)
        slots = Slots(txn, take, capacity)
        current = slots.carry_out(plans)
    claims, expired, left = claim(txn, take, capacity)
    due = txn.db.execute(_DUE, (txn.now,)).fetchall() if take.crons else None
    outdated = _outdated(txn, asked, due or (), current) if due or len(current) < len(plans) else {}
    if txn.db.total_changes > before:
        txn.db.execute(_SET_POLLED, (txn.now,))
    else:
        _note(txn)
    if slots is not None:
        claims, dropped, left = [*slots.claims, *claims], [*dropped, *slots.dropped], slots.left or left
    if expired:
        dropped = [*dropped, *expired]
    refused, takeovers = () if slots is None else slots.refused, txn.db.execute(_TAKEOVERS).fetchone()[0]
    polled = Polled(0.0, claims, refused, outdated, lost, dropped, left, takeovers)
    return polled, txn.now if outdated else earliest(txn)


def _name(txn: Transaction, take: Take) -> None:
    """Store that names and a `CRON_MAX_TIME` are in use, where that is not known or was long ago."""
    now, db = txn.now, txn.db
    given = {"own": txn.terms.cron_max_time, "now": now}
    if not db.execute(_IS_PACE_SEEN, given).fetchone():
        db.execute(_SET_PACE, (txn.terms.cron_max_time, now))
        db.execute(_FORGET_PACES, (now,))
    named: set[tuple[int, str, int | None]] = {
        *zip(repeat(1), take.tasks, take.tasks.values()),
        *zip(repeat(0), take.crons, take.crons.values()),
    }
    for kind, name in take.resting:
        if name not in (take.tasks if kind is Kind.JOB else take.crons):
            named.add((int(kind is Kind.JOB), name, None))
    named.difference_update(db.execute(_NAMED, given))
    if named:
        db.executemany(_NAME, [(is_job, name, now, limit) for is_job, name, limit in named])


def _outdated(txn: Transaction, asked: Poll, due: Iterable[tuple[str]], current: set[str]) -> Mapping[str, CronState]:
    names = {name for (name,) in due} & asked.take.crons.keys()
    names.update(plan.name for plan in asked.plans)
    return {name: state(txn, name) for name in sorted(names - current)}


def _note(txn: Transaction) -> None:
    """Store when a poll was that writes nothing else, if that has not been stored for long."""
    given = {"own": txn.terms.cron_max_time, "now": txn.now}
    if not txn.db.execute(_IS_POLL_SEEN, given).fetchone():
        txn.db.execute(_SET_POLLED, (txn.now,))
