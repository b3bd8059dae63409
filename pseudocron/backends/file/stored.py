"""A run as the tables have it: read from its rows, and written when its state changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends import rules
from pseudocron.backends.file.transaction import micros, micros_or_none
from pseudocron.backends.legible import instant, legible, text, whole
from pseudocron.backends.model import BRIEFLY, Attempt, Blocker, Kind, Run, State, Waited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pseudocron.backends.file.transaction import Transaction

PENDING, RUNNING = State.PENDING.value, State.RUNNING.value

_OF_LIVING = {
    "state": "CASE WHEN living.over = 0 THEN 'running' ELSE runs.state END",
    "attempts": "runs.attempts + ifnull(living.over = 0, 0)",
    "fence": "CASE WHEN living.over = 0 THEN living.fence ELSE runs.fence END",
    "worker": "CASE WHEN living.over = 0 THEN living.worker ELSE runs.worker END",
    "started": "CASE WHEN living.over = 0 THEN living.started ELSE runs.started END",
    "ended": "CASE WHEN living.over = 0 THEN NULL ELSE runs.ended END",
    "is_kept": "ifnull(living.over, 0)",
}
"""The columns that `living` has of a run that is running."""


def _select(*, brief: bool) -> str:
    columns = {column: _OF_LIVING.get(column, f"runs.{column}") for column in Run._fields}
    if brief:
        columns |= {"error": "NULL", "output": "NULL", "arguments": f"substr(runs.arguments, 1, {BRIEFLY})"}
    return (
        f"SELECT runs.id, ifnull(living.stop, 0), runs.coalesce, {', '.join(columns.values())} "  # noqa: S608 - our own
        "FROM runs LEFT JOIN living ON living.run_id = runs.run_id WHERE "
    )


SELECT, SELECT_BRIEF = _select(brief=False), _select(brief=True)
_BY_ID = f"{SELECT} runs.run_id = ?"
_BY_PLACE = f"{SELECT} runs.id = ?"
_UPDATE = """
    UPDATE runs SET state = ?, due = ?, expires = ?, attempts = ?, failures = ?, lost = ?, fence = ?, worker = ?,
        started = ?, ended = ?, reason = ?, unfit_since = ?, earlier = ?, error = ?, output = ?
    WHERE id = ?"""
_STOP_WAITING = """
    DELETE FROM pending
    WHERE is_job = ? AND name = ? AND ready IN (0, 1) AND rank IN (0, ?) AND due = ? AND id = ?"""
WAIT = """
    INSERT INTO pending (is_job, name, ready, rank, due, id, priority, key, expires, counts)
    SELECT kind = 'job', name, kind = 'job' AND due <= :now, -priority * (kind = 'job' AND due <= :now), due, id,
        priority, key, expires, kind = 'slot' AND (at_least_once OR NOT coalesce)
    FROM runs WHERE """
_WAIT_AGAIN = f"{WAIT} id = :id"
_NAME = "INSERT INTO names (is_job, name, seen) VALUES (?, ?, 0) ON CONFLICT (is_job, name) DO NOTHING"
_KEEP_LEASE = "UPDATE living SET over = 1 WHERE run_id = ?"
END_LEASE = "DELETE FROM living WHERE run_id = ?"
_COUNT_FAILURE = "UPDATE crons SET failures = failures + 1 WHERE name = ?"
_TRIM = """
    DELETE FROM runs WHERE id IN (
        SELECT id FROM runs WHERE name = ? AND kind IN ('slot', 'manual') AND state <> 'pending'
        ORDER BY id DESC LIMIT -1 OFFSET ?
    ) AND run_id NOT IN (SELECT run_id FROM living)"""


class Stored(NamedTuple):
    """A run, and what the store knows besides.

    Args:
        place: Its place in the order in which runs were stored.
        stop: Whether it was cancelled while it ran.
        coalesce: Whether the plan coalesced from which it is.
        run: The run.
    """

    place: int
    stop: bool
    coalesce: bool
    run: Run

    @property
    def is_job(self) -> bool:
        """Whether it is of a task, and not of a cron."""
        return self.run.kind is Kind.JOB


def _waited(stored: str) -> Waited:
    return Waited(*json.loads(stored))


def _earlier(stored: str) -> tuple[Attempt, ...]:
    attempts = json.loads(stored)
    return tuple(
        Attempt(text(worker), instant(started), instant(ended), State(outcome), error)
        for worker, started, ended, outcome, error in attempts
    )


def blockers_text(blockers: Iterable[Blocker]) -> str | None:
    """Return how blockers are stored; None if there are none."""
    return json.dumps([list(blocker) for blocker in blockers]) if blockers else None


def blockers_of(stored: str) -> tuple[Blocker, ...]:
    """Return the blockers that were so stored."""
    return tuple(Blocker(text(run_id), text(worker)) for run_id, worker in json.loads(stored))


def _earlier_text(attempts: tuple[Attempt, ...]) -> str | None:
    if not attempts:
        return None
    values = [(one.worker, micros(one.started), micros(one.ended), one.outcome, one.error) for one in attempts]
    return json.dumps(values)


_INSTANTS = ("due", "created", "slot", "expires", "started", "ended", "unfit_since")
READ: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(Run._fields, text),
    **dict.fromkeys(("priority", "attempts", "failures", "lost", "fence"), whole),
    **dict.fromkeys(("at_least_once", "is_kept"), bool),
    **dict.fromkeys(_INSTANTS, instant),
    "kind": Kind,
    "state": State,
    "waited": _waited,
    "earlier": _earlier,
}
_READERS = tuple((READ[column], () if column == "earlier" else None) for column in Run._fields)


@legible("a run")
def stored(row: tuple[Any, ...]) -> Stored:
    """Return a run from what a `SELECT` has read."""
    place, stop, coalesce, *columns = row
    values: list[Any] = [
        none if value is None else read(value) for (read, none), value in zip(_READERS, columns, strict=True)
    ]
    return Stored(place, bool(stop), bool(coalesce), Run(*values))


def all_of(txn: Transaction, where: str, *values: object) -> Iterator[Stored]:
    """Yield the runs that meet a condition; `where` is a constant of ours."""
    return map(stored, txn.db.execute(SELECT + where, values).fetchall())


def by_id(txn: Transaction, run_id: str) -> Stored | None:
    """Return a run by its id."""
    row = txn.db.execute(_BY_ID, (run_id,)).fetchone()
    return None if row is None else stored(row)


def by_place(txn: Transaction, place: int) -> Stored:
    """Return a run that is known to be stored."""
    return stored(txn.db.execute(_BY_PLACE, (place,)).fetchone())


def change(txn: Transaction, was: Stored, run: Run, *, goes_on: bool = False) -> Run:
    """Store a run that waits or has ended, as it is now; `goes_on` if it ran, and its lease is kept."""
    if was.run.state is State.RUNNING:
        txn.db.execute(_KEEP_LEASE if goes_on else END_LEASE, (run.run_id,))
    elif was.run.state is State.PENDING:
        txn.db.execute(_STOP_WAITING, (was.is_job, run.name, -run.priority, micros(was.run.due), was.place))
    txn.db.execute(_UPDATE, (*_changing(run), was.place))
    if run.state is State.PENDING:
        txn.db.execute(_WAIT_AGAIN, {"now": txn.now, "id": was.place})
        txn.db.execute(_NAME, (was.is_job, run.name))
    elif not was.is_job and was.run.state not in rules.FINAL:
        _end_of_cron(txn, run)
    return run


def drop(txn: Transaction, was: Stored, state: State) -> Run:
    """Let a pending run end without being started."""
    return change(txn, was, rules.dropped(was.run, state, instant(txn.now)))


def _end_of_cron(txn: Transaction, run: Run) -> None:
    if run.state is not State.SUCCEEDED:
        txn.db.execute(_COUNT_FAILURE, (run.name,))
    trim(txn, run.name)


def trim(txn: Transaction, cron: str) -> None:
    """Delete the ended runs of a cron but for the newest ones, and those whose leases are living."""
    txn.db.execute(_TRIM, (cron, txn.terms.keep))


def _changing(run: Run) -> tuple[object, ...]:
    """Return the columns that may change while a run is stored."""
    return (
        run.state.value,
        micros(run.due),
        micros_or_none(run.expires),
        run.attempts,
        run.failures,
        run.lost,
        run.fence,
        run.worker,
        micros_or_none(run.started),
        micros_or_none(run.ended),
        run.reason,
        micros_or_none(run.unfit_since),
        _earlier_text(run.earlier),
        run.error,
        run.output,
    )
