"""When the gate must turn stale at the latest, by what the store holds: the law of the gate in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.file.pending import FREE, JOBS, RETRIES
from pseudocron.backends.file.transaction import SECOND, after

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pseudocron.backends.file.transaction import Transaction

_FIRST = "SELECT due FROM pending WHERE {of} AND {free} ORDER BY rank, due, id LIMIT 1"
_FIRST_READY = _FIRST.format(of=JOBS, free=FREE)
_FIRST_SCHEDULED = _FIRST.format(of=JOBS.replace("ready = 1", "ready = 0 AND rank = 0"), free=FREE)
_FIRST_RETRY = _FIRST.format(of=RETRIES, free=FREE)
_FIRST_OF_READY = f"SELECT min(due) FROM pending WHERE {JOBS} AND {FREE}"  # noqa: S608 - our own
_PACE = f"SELECT {{0}}(cron_max_time) FROM paces WHERE seen >= ? - {rules.IN_USE_FOR} * cron_max_time * {SECOND}"  # noqa: S608
_SHORTEST, _LONGEST = _PACE.format("min"), _PACE.format("max")
_MAY_START = """
    SELECT 1 FROM names LEFT JOIN crons ON NOT is_job AND crons.name = names.name
    WHERE is_job = :is_job AND names.name = :name AND seen >= :since AND NOT ifnull(paused, 0) AND (
        max_instances IS NULL
        OR max_instances > (SELECT count(*) FROM living WHERE living.is_job = :is_job AND living.name = :name)
    )"""
_MAY_START_ALL = """
    SELECT is_job, names.name FROM names LEFT JOIN crons ON NOT is_job AND crons.name = names.name
    WHERE seen >= :since AND EXISTS (
        SELECT 1 FROM pending WHERE pending.is_job = names.is_job AND pending.name = names.name
    ) AND NOT ifnull(paused, 0) AND (
        max_instances IS NULL OR max_instances > (
            SELECT count(*) FROM living WHERE living.is_job = names.is_job AND living.name = names.name
        )
    )"""
COUNTING = """(
    (SELECT count(*) FROM living WHERE is_job = 0 AND living.name = {0}) + (
        SELECT count(*) FROM pending
        WHERE is_job = 0 AND pending.name = {0} AND counts AND id NOT IN (SELECT id FROM living)
    ))"""
"""How many runs of a cron count for `max_instances`."""
_NEXT = f"""
    SELECT min(next) FROM crons JOIN names ON names.is_job = 0 AND names.name = crons.name
    WHERE NOT paused AND seen >= ? AND NOT (
        held AND max_instances IS NOT NULL AND max_instances <= {COUNTING.format("crons.name")})"""  # noqa: S608
_NEXT_OF = f"{_NEXT} AND crons.name = ?"
_FIRST_END = "SELECT min(lease) FROM living"


def shortest(txn: Transaction) -> float | None:
    """Return the smallest `CRON_MAX_TIME` in use; None if no process has polled of late."""
    (seconds,) = txn.db.execute(_SHORTEST, (txn.now,)).fetchone()
    return None if seconds is None else float(seconds)


def longest(txn: Transaction) -> float:
    """Return the largest `CRON_MAX_TIME` in use, or of this process."""
    (seconds,) = txn.db.execute(_LONGEST, (txn.now,)).fetchone()
    return max(seconds or 0.0, txn.terms.cron_max_time)


def earliest(txn: Transaction) -> int:
    """Return *earliest* of the law of the gate, for a poll that happens now."""
    seconds = min(shortest(txn) or txn.terms.cron_max_time, txn.terms.cron_max_time)
    since = after(txn.now, -rules.IN_USE_FOR * seconds)
    names = txn.db.execute(_MAY_START_ALL, {"since": since}).fetchall()
    dues = [_first_pending(txn, is_job, name) for is_job, name in names]
    ends = _column(txn, _FIRST_END)
    last = after(txn.now, seconds)
    return min(due for due in (*dues, ends, next_due(txn, since), last) if due is not None)


def count(txn: Transaction, names: Iterable[tuple[int, str]]) -> None:
    """Bring the gate forward to when something of these tasks (1) and crons (0) is due, after an obstacle has gone."""
    if txn.is_stale:
        txn.bring_forward(0)  # stale it stays, also if the clock is set back
        return
    seconds = shortest(txn)
    if seconds is None:  # no process has polled of late, and nothing is in use
        return
    since = after(txn.now, -rules.IN_USE_FOR * seconds)
    for is_job, name in names:
        txn.bring_forward(first_due(txn, is_job, name, since))
        if not is_job:
            txn.bring_forward(next_due(txn, since, name))


def next_due(txn: Transaction, since: int, name: str | None = None) -> int | None:
    """Return the first `next` of the crons that count, or of one of them."""
    if name is None:
        return _column(txn, _NEXT, since)
    return _column(txn, _NEXT_OF, since, name)


def first_due(txn: Transaction, is_job: int, name: str, since: int) -> int | None:
    """Return when the first pending run of a task or cron is due that the store does not hold back."""
    if not txn.db.execute(_MAY_START, {"is_job": is_job, "name": name, "since": since}).fetchone():
        return None
    return _first_pending(txn, is_job, name)


def _first_pending(txn: Transaction, is_job: int, name: str) -> int | None:
    if not is_job:
        return _due(txn, _FIRST_RETRY, name)
    ready = _due(txn, _FIRST_READY, name)
    if ready is not None and ready > txn.now:  # the clock was set back
        ready = _due(txn, _FIRST_OF_READY, name)
    return _first([ready, _due(txn, _FIRST_SCHEDULED, name)])


def _first(dues: Iterable[int | None]) -> int | None:
    return min((due for due in dues if due is not None), default=None)


def _due(txn: Transaction, statement: str, name: str) -> int | None:
    row = txn.db.execute(statement, {"name": name}).fetchone()
    return None if row is None else row[0]


def _column(txn: Transaction, statement: str, *values: object) -> int | None:
    due: int | None = txn.db.execute(statement, values).fetchone()[0]
    return due
