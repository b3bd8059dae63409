"""One poll, in the order of the contract; the gate is the business of the backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.file.earliest import COUNTING, earliest, shortest
from pseudocron.backends.file.pending import Capacity, claim
from pseudocron.backends.file.plans import Slots
from pseudocron.backends.file.runs import end_leases, renew
from pseudocron.backends.file.slots import state
from pseudocron.backends.file.transaction import SECOND
from pseudocron.backends.model import Kind
from pseudocron.backends.questions import Polled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pseudocron.backends.file.transaction import Transaction
    from pseudocron.backends.model import CronState
    from pseudocron.backends.questions import Poll, Take

_NAMES = "SELECT is_job, name, seen, max_instances FROM names"
_NAME = """
    INSERT INTO names (is_job, name, seen, max_instances) VALUES (?, ?, ?, ?)
    ON CONFLICT (is_job, name) DO UPDATE SET seen = excluded.seen, max_instances = excluded.max_instances"""
_PACE = "SELECT seen FROM paces WHERE cron_max_time = ?"
_SET_PACE = """
    INSERT INTO paces VALUES (?, ?) ON CONFLICT (cron_max_time) DO UPDATE SET seen = excluded.seen"""
_FORGET_PACES = f"DELETE FROM paces WHERE seen < ? - {rules.IN_USE_FOR} * cron_max_time * {SECOND}"  # noqa: S608
_POLLED = "SELECT polled FROM meta"
_SET_POLLED = "UPDATE meta SET polled = ?"
_DUE = f"""
    SELECT crons.name FROM crons LEFT JOIN names ON is_job = 0 AND names.name = crons.name
    WHERE next <= ? AND NOT paused AND NOT (
        held AND max_instances IS NOT NULL AND max_instances <= {COUNTING.format("crons.name")})"""  # noqa: S608 - our own


def poll(txn: Transaction, asked: Poll) -> tuple[Polled, int]:
    """Do what is due.

    Returns:
        The answer, and the instant at which the gate is to turn stale.
    """
    before, take = txn.db.total_changes, asked.take
    if asked.holding:
        renew(txn, asked.holding, take.lease)
    lost, dropped = end_leases(txn)
    _name(txn, take)
    capacity = Capacity(take)
    slots = Slots(txn, take, capacity)
    current = slots.carry_out(asked.plans)
    taken = claim(txn, take, capacity)
    outdated = _outdated(txn, asked, current)
    _note(txn, is_changed=txn.db.total_changes > before)
    polled = Polled(
        0.0,
        [*slots.claims, *taken.claims],
        slots.refused,
        outdated,
        lost,
        [*dropped, *slots.dropped, *taken.dropped],
        slots.left or taken.left,
    )
    return polled, txn.now if outdated else earliest(txn)


def _name(txn: Transaction, take: Take) -> None:
    """Store that names and a `CRON_MAX_TIME` are in use, where that is not known or was long ago."""
    own = txn.terms.cron_max_time
    row = txn.db.execute(_PACE, (own,)).fetchone()
    if row is None or not rules.is_seen((txn.now - row[0]) / SECOND, own):
        txn.db.execute(_SET_PACE, (own, txn.now))
        txn.db.execute(_FORGET_PACES, (txn.now,))
    pace = min(shortest(txn) or own, own)
    known = {(is_job, name): (seen, limit) for is_job, name, seen, limit in txn.db.execute(_NAMES)}
    new = [
        (*name, txn.now, limit)
        for name, limit in _limits(take).items()
        if name not in known or known[name][1] != limit or not rules.is_seen((txn.now - known[name][0]) / SECOND, pace)
    ]
    if new:
        txn.db.executemany(_NAME, new)


def _limits(take: Take) -> dict[tuple[int, str], int | None]:
    limits: dict[tuple[int, str], int | None] = {(int(kind is Kind.JOB), name): None for kind, name in take.resting}
    limits |= {(1, name): limit for name, limit in take.tasks.items()}
    limits |= {(0, name): limit for name, limit in take.crons.items()}
    return limits


def _outdated(txn: Transaction, asked: Poll, current: set[str]) -> Mapping[str, CronState]:
    planned = {plan.name for plan in asked.plans}
    due = {name for (name,) in txn.db.execute(_DUE, (txn.now,))} & asked.take.crons.keys()
    return {name: state(txn, name) for name in sorted((planned | due) - current)}


def _note(txn: Transaction, *, is_changed: bool) -> None:
    """Store when this poll was, if it writes anyway, or that has not been stored for long."""
    (polled,) = txn.db.execute(_POLLED).fetchone()
    if is_changed or polled is None or not rules.is_seen((txn.now - polled) / SECOND, txn.terms.cron_max_time):
        txn.db.execute(_SET_POLLED, (txn.now,))
