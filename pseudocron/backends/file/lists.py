"""The verbs that read runs: one of them, pages of them, timelines, counts, what waits."""

from __future__ import annotations

from heapq import merge
from itertools import chain, islice
from typing import TYPE_CHECKING

from pseudocron.backends.file.slots import skip_of
from pseudocron.backends.file.stored import SELECT, SELECT_BRIEF, by_id, stored
from pseudocron.backends.legible import instant
from pseudocron.backends.model import Kind, Run, Skip, State
from pseudocron.backends.questions import Where

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.file.stored import Stored
    from pseudocron.backends.file.transaction import Transaction

_PLACE = "SELECT id FROM runs WHERE run_id = ?"
_LIVING = "runs.id IN (SELECT id FROM living WHERE {over})"
_COUNT_ENDED = """
    SELECT count(*) FROM (
        SELECT 1 FROM runs INDEXED BY ended_jobs WHERE kind = 'job' AND state <> 'pending' AND state = ? LIMIT ?
    )"""
# From one name to the next, past all of its runs.
_NAMES = """
    WITH RECURSIVE named (name) AS (
        SELECT min(name) FROM runs
        UNION ALL
        SELECT (SELECT min(runs.name) FROM runs WHERE runs.name > named.name) FROM named WHERE name IS NOT NULL
    )
    SELECT name FROM named WHERE name IS NOT NULL"""
_COUNT = {
    State.PENDING: "SELECT count(*) FROM (SELECT 1 FROM pending WHERE is_job = 1 LIMIT ?)",
    State.RUNNING: "SELECT count(*) FROM (SELECT 1 FROM living WHERE is_job = 1 AND NOT over LIMIT ?)",
}
_WAITING = """
    WITH RECURSIVE waiting (name) AS (
        SELECT min(name) FROM pending WHERE is_job = 1
        UNION ALL
        SELECT (SELECT min(pending.name) FROM pending WHERE is_job = 1 AND pending.name > waiting.name)
        FROM waiting WHERE name IS NOT NULL
    )
    SELECT name, (
        SELECT min(due) FROM (
            SELECT * FROM (
                SELECT due FROM pending WHERE is_job = 1 AND pending.name = waiting.name AND ready = 1 LIMIT 1
            ) UNION ALL SELECT * FROM (
                SELECT due FROM pending WHERE is_job = 1 AND pending.name = waiting.name AND ready = 0 LIMIT 1
            )
        )
    ) FROM waiting WHERE name IS NOT NULL"""
_CRONS = "SELECT name FROM crons ORDER BY name"
_OF_CRON = "runs.name = ? AND runs.kind IN ('slot', 'manual') ORDER BY runs.id DESC LIMIT ?"
_SKIPS = f"SELECT place, {', '.join(Skip._fields)} FROM skips WHERE name = ? ORDER BY id DESC LIMIT ?"  # noqa: S608 - our own


def run(txn: Transaction, run_id: str) -> Run | None:
    """See `Backend.run`."""
    found = by_id(txn, run_id)
    return None if found is None else found.run


def runs(txn: Transaction, where: Where, limit: int, before: str | None, *, brief: bool) -> Sequence[Run]:
    """See `Backend.runs`."""
    place = None
    if before is not None:
        row = txn.db.execute(_PLACE, (before,)).fetchone()
        if row is None:
            return []
        (place,) = row
    select = SELECT_BRIEF if brief else SELECT
    pages = (_page(txn, select, piece, limit, place) for piece in _pieces(txn, where))
    found = merge(*pages, key=lambda one: one.place, reverse=True)
    return [one.run for one in islice(found, limit)]


def _pieces(txn: Transaction, where: Where) -> Iterator[Where]:
    """Yield conditions each of which an index finds: a name or key, a kind and a state."""
    if where == Where():
        yield where
        return
    names = [where.name]
    if where.name is None and where.key is None and not where.is_kept:
        names = [name for (name,) in txn.db.execute(_NAMES)]
    for name in names:
        for kind in set(where.kinds) or Kind:
            for state in set(where.states) or State:
                yield where._replace(name=name, kinds=(kind,), states=(state,))


def _page(txn: Transaction, select: str, where: Where, limit: int, place: int | None) -> list[Stored]:
    """Return runs of one piece."""
    conditions = {
        "runs.kind = ?": where.kinds[0].value if where.kinds else None,  # type: ignore[index]  # see `_pieces`
        "runs.name = ?": where.name,
        "runs.key = ?": where.key,
        "runs.id < ?": place,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    parts = [*given, *chain.from_iterable(map(_stands, where.states))]
    if where.is_kept or State.RUNNING in where.states:
        # Runs with a lease are few: they are found by it, and the `+` keeps SQLite from an index over all runs.
        parts = [*(f"+{part}" for part in parts), _LIVING.format(over="over" if where.is_kept else "NOT over")]
    statement = f"{select} {' AND '.join(parts) or 'TRUE'} ORDER BY runs.id DESC LIMIT ?"
    return list(map(stored, txn.db.execute(statement, (*given.values(), limit)).fetchall()))


def _stands(state: State) -> list[str]:
    if state is State.RUNNING:
        return ["living.over = 0"]
    conditions = [f"runs.state = '{state.value}'"]
    return [*conditions, "ifnull(living.over, 1)"] if state is State.PENDING else conditions


def timelines(txn: Transaction, names: Collection[str] | None, limit: int) -> Mapping[str, Sequence[Run | Skip]]:
    """See `Backend.timelines`."""
    if names is None:
        names = [name for (name,) in txn.db.execute(_CRONS)]
    select = SELECT_BRIEF if len(names) > 1 else SELECT
    return {name: _timeline(txn, select, name, limit) for name in names}


def _timeline(txn: Transaction, select: str, name: str, limit: int) -> Sequence[Run | Skip]:
    of_runs = [stored(row) for row in txn.db.execute(select + _OF_CRON, (name, limit)).fetchall()]
    # A skip was recorded after the run at its place, and before the next one.
    runs = (((one.place, 0), one.run) for one in of_runs)
    skips = (((row[0], 1), skip_of(row[1:])) for row in txn.db.execute(_SKIPS, (name, limit)).fetchall())
    newest: Iterator[tuple[tuple[int, int], Run | Skip]] = merge(runs, skips, key=lambda one: one[0], reverse=True)
    return [entry for _, entry in islice(newest, limit)]


def counts(txn: Transaction, at_most: int) -> Mapping[State, int]:
    """See `Backend.counts`."""
    return {state: _count(txn, state, at_most) for state in State}


def _count(txn: Transaction, state: State, at_most: int) -> int:
    if state in _COUNT:
        row = txn.db.execute(_COUNT[state], (at_most,)).fetchone()
    else:
        row = txn.db.execute(_COUNT_ENDED, (state.value, at_most)).fetchone()
    return int(row[0])


def waiting(txn: Transaction) -> Mapping[str, datetime]:
    """See `Backend.waiting`."""
    rows = txn.db.execute(_WAITING).fetchall()
    return {name: instant(due) for name, due in rows} if rows else {}
