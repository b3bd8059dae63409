"""When the gate must turn stale at the latest, by what the store holds: the law of the gate in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.file.pending import FREE
from pseudocron.backends.file.transaction import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pseudocron.backends.file.transaction import Transaction

_PACE = f"SELECT {{0}}(cron_max_time) FROM paces WHERE seen >= :now - {rules.IN_USE_FOR} * cron_max_time * {SECOND}"  # noqa: S608
SHORTEST, _LONGEST = f"({_PACE.format('min')})", f"({_PACE.format('max')})"
"""The smallest and the largest `CRON_MAX_TIME` in use; NULL if no process has polled of late."""
IS_SEEN = f"(seen <= :now AND (:now - seen) / {SECOND}.0 < {rules.SEEN_AGAIN} * {{0}})"
"""Whether it need not be written again that a name is in use; see `rules.is_seen`."""
COUNTING = """(
    (SELECT count(*) FROM living WHERE is_job = 0 AND living.name = {0}) + (
        SELECT count(*) FROM pending
        WHERE is_job = 0 AND pending.name = {0} AND counts AND id NOT IN (SELECT id FROM living)
    ))"""
"""How many runs of a cron count for `max_instances`."""

# The law of the gate, name by name: each table is read by its index, up to the first run that may start.
_FIRST = "SELECT due FROM pending WHERE {of} AND {free} ORDER BY rank, due, id LIMIT 1"
_OF_NAME = "pending.name = names.name"
_READY = f"pending.is_job = 1 AND {_OF_NAME} AND ready = 1"
_FIRST_READY = _FIRST.format(of=_READY, free=FREE)
_FIRST_SCHEDULED = _FIRST.format(of=f"pending.is_job = 1 AND {_OF_NAME} AND ready = 0 AND rank = 0", free=FREE)
_FIRST_RETRY = _FIRST.format(of=f"pending.is_job = 0 AND {_OF_NAME} AND ready = 0 AND rank = 0", free=FREE)
_MAY_START = f"""seen >= :now - {rules.IN_USE_FOR * SECOND} * {{pace}} AND (max_instances IS NULL OR max_instances > (
        SELECT count(*) FROM living WHERE living.is_job = names.is_job AND living.name = names.name
    ))"""  # noqa: S608 - our own
# After the clock was set back, the first one that is ready may not be the first that is due.
_OF_JOBS = f"""
    SELECT CASE WHEN first > :now THEN (SELECT min(due) FROM pending WHERE {_READY} AND {FREE}) ELSE first END AS due
    FROM (SELECT name, ({_FIRST_READY}) AS first FROM names WHERE is_job = 1 AND {{of}} AND {_MAY_START}) AS names
    UNION ALL SELECT ({_FIRST_SCHEDULED}) FROM names WHERE is_job = 1 AND {{of}} AND {_MAY_START}"""  # noqa: S608
_OF_CRONS = f"""
    SELECT ({_FIRST_RETRY}) AS due FROM names LEFT JOIN crons USING (name)
    WHERE is_job = 0 AND {{of}} AND NOT ifnull(paused, 0) AND {_MAY_START}
    UNION ALL SELECT next FROM names JOIN crons USING (name)
    WHERE is_job = 0 AND {{of}} AND NOT paused AND seen >= :now - {rules.IN_USE_FOR * SECOND} * {{pace}} AND NOT (
        held AND max_instances IS NOT NULL AND max_instances <= {COUNTING.format("crons.name")})"""  # noqa: S608
# Of names the largest counts: one that has named them writes that no more often than it must itself.
_OF_ONE = {"of": "name = :name", "pace": _LONGEST}
_OF_ANY = {"of": "TRUE", "pace": "(SELECT longest FROM pace)"}
_FIRST_OF = (
    f"SELECT min(due) FROM ({_OF_CRONS.format(**_OF_ONE)})",  # noqa: S608
    f"SELECT min(due) FROM ({_OF_JOBS.format(**_OF_ONE)})",  # noqa: S608
)
"""When something of a cron, or of a task, is due that the store does not hold back."""
FIRST_END = "SELECT min(lease) FROM living"
EARLIEST = f"""
    WITH pace AS (
        SELECT min(ifnull({SHORTEST}, :own), :own) AS shortest, max(ifnull({_LONGEST}, :own), :own) AS longest
    )
    SELECT min(due) FROM (
        SELECT :now + CAST(round(shortest * {SECOND}) AS INTEGER) AS due FROM pace
        UNION ALL {FIRST_END}
        UNION ALL {_OF_JOBS.format(**_OF_ANY)}
        UNION ALL {_OF_CRONS.format(**_OF_ANY)}
    )"""  # noqa: S608


def longest(txn: Transaction) -> float:
    """Return the largest `CRON_MAX_TIME` in use, or of this process."""
    (seconds,) = txn.db.execute(f"SELECT {_LONGEST}", {"now": txn.now}).fetchone()
    return max(seconds or 0.0, txn.terms.cron_max_time)


def earliest(txn: Transaction) -> int:
    """Return *earliest* of the law of the gate, for a poll that happens now."""
    due: int = txn.db.execute(EARLIEST, {"now": txn.now, "own": txn.terms.cron_max_time}).fetchone()[0]
    return due


def count(txn: Transaction, names: Iterable[tuple[int, str]]) -> None:
    """Bring the gate forward to when something of these tasks (1) and crons (0) is due, after an obstacle has gone."""
    if txn.is_stale:
        txn.due = 0  # stale it stays, also if the clock is set back
        return
    for is_job, name in names:
        due = txn.db.execute(_FIRST_OF[is_job], {"now": txn.now, "name": name}).fetchone()[0]
        if due is not None and (txn.due is None or due < txn.due):
            txn.due = due
