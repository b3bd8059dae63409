"""Records that can't be read: they are set aside, so that one of them stops nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pseudocron.backends.file.stored import READ, by_place
from pseudocron.backends.file.transaction import YEAR_10000
from pseudocron.backends.legible import ILLEGIBLE, IllegibleError
from pseudocron.backends.model import Kind, State
from pseudocron.log import logger

if TYPE_CHECKING:
    from pseudocron.backends.file.transaction import Transaction

AT_MOST = 2000
"""How many pending runs of a name are checked: more than a poll reads."""

_NAMES = "SELECT is_job, name FROM names"
_PENDING = """
    SELECT is_job, name, ready, rank, due, id, expires FROM pending WHERE is_job = ? AND name = ?
    ORDER BY is_job, name, ready DESC, rank, due, id LIMIT ?"""
_LEAVE = "DELETE FROM pending WHERE (is_job, name, ready, rank, due, id) = (?, ?, ?, ?, ?, ?)"
_LIVING = "SELECT is_job, name, id FROM living"
_ARE_COUNTS = "SELECT typeof(attempts) = 'integer' AND typeof(fence) = 'integer' FROM runs WHERE id = ?"
_END = "DELETE FROM living WHERE id = ?"
_FORGET_EXPIRY = "UPDATE pending SET expires = NULL WHERE typeof(expires) NOT IN ('integer', 'null')"
_CRON_COLUMNS = {"mark": None, "since": None, "back": None, "next": None, "schedule": None, "replaced": None}
_CRON_COUNTS = ("claims", "failures", "missed", "paused")
_DEFAULTS = {"priority": 0, "attempts": 0, "failures": 0, "lost": 0, "fence": 0, "at_least_once": 0}


def set_aside(txn: Transaction) -> int:
    """Let runs whose records can't be read fail, forget what can't be read of crons, and return how many there were."""
    number = _mend_crons(txn) + txn.db.execute(_FORGET_EXPIRY).rowcount
    for of in txn.db.execute(_NAMES).fetchall():
        for row in txn.db.execute(_PENDING, (*of, AT_MOST)).fetchall():
            if not _is_sound(txn, *row[3:6]):
                txn.db.execute(_LEAVE, row[:6])
                _fail(txn, row[0], row[1], row[5])
                number += 1
    for is_job, name, place in txn.db.execute(_LIVING).fetchall():
        if not _is_sound(txn, place):
            txn.db.execute(_END, (place,))
            _fail(txn, is_job, name, place)
            number += 1
    return number


def _is_sound(txn: Transaction, *numbers: object) -> bool:
    """Return whether a run can be read, the last of these numbers being its place."""
    if not all(isinstance(number, int) for number in numbers):
        return False
    place = numbers[-1]
    try:
        by_place(txn, place)  # type: ignore[arg-type]  # see above
    except IllegibleError:
        return False
    return bool(txn.db.execute(_ARE_COUNTS, (place,)).fetchone()[0])


def _fail(txn: Transaction, is_job: int, name: str, place: object) -> None:
    """Make a record that of a run that has failed, with what can be read of it."""
    cursor = txn.db.execute("SELECT * FROM runs WHERE id = ?", (place,))
    row = cursor.fetchone()
    if row is None:
        logger.error("store: a run of %s is no longer in it: dropped", name)
        return
    columns = [column[0] for column in cursor.description]
    stored = dict(zip(columns, row, strict=True))
    logger.error("store: run %s of %s can't be read: set aside as failed", stored["run_id"], name)
    of = {"kind": (Kind.JOB if is_job else Kind.SLOT).value, "name": name, "due": txn.now, "created": txn.now}
    sound = {column: _sound(column, value, (_DEFAULTS | of).get(column)) for column, value in stored.items()}
    sound |= {"state": State.FAILED.value, "ended": txn.now, "reason": "its record could not be read"}
    del sound["id"], sound["run_id"]
    changes = ", ".join(f"{column} = ?" for column in sound)
    txn.db.execute(f"UPDATE runs SET {changes} WHERE id = ?", (*sound.values(), place))  # noqa: S608 - our own names


def _sound(column: str, value: Any, default: object) -> object:
    """Return a value if it can be read, else another one."""
    if column == "coalesce":
        return value if isinstance(value, int) else 1
    if value is None or column not in READ:
        return default if value is None else value
    try:
        READ[column](value)
    except ILLEGIBLE:
        return default
    return value


def _mend_crons(txn: Transaction) -> int:
    integers = [column for column in _CRON_COLUMNS if column not in {"schedule", "replaced"}]
    number = 0
    for column in _CRON_COLUMNS:
        kinds = "'integer', 'null'" if column in integers else "'text', 'null'"
        bad = f"typeof({column}) NOT IN ({kinds})"
        if column in integers:
            bad = f"{bad} OR abs({column} / 2) > {YEAR_10000 // 2}"
        elif column == "replaced":
            bad = f"{bad} OR NOT json_valid({column})"
        number += txn.db.execute(f"UPDATE crons SET {column} = NULL WHERE {bad}").rowcount  # noqa: S608 - our own names
    for column in _CRON_COUNTS:
        bad = f"typeof({column}) <> 'integer'"
        number += txn.db.execute(f"UPDATE crons SET {column} = 0 WHERE {bad}").rowcount  # noqa: S608 - our own names
    if number:
        logger.error("store: %s values of crons can't be read: forgotten", number)
    return number
