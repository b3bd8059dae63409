"""How a run stands in the rows of the store, and is read from them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pseudocron.backends.legible import instant, legible, text, whole
from pseudocron.backends.records import Blocker, Lingering, Outcome, Reason, Run
from pseudocron.backends.slot_rules import blockers_of, waited_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

RUN = tuple(column.name for column in fields(Run))
BRIEF = tuple(column for column in RUN if column not in {"error", "output"})

INSTANTS = ("slot", "started", "ended", "first", "since")
PARTS = ("blockers", "waited")

WHOLE = ("fence", "attempt", "slots")
READ: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(RUN, text),
    **dict.fromkeys(WHOLE, whole),
    **dict.fromkeys(INSTANTS, instant),
    "outcome": Outcome,
    "reason": Reason,
    "blockers": blockers_of,
    "waited": waited_of,
}
"""How a column of a line is read where it says something."""


@legible("a run")
def blocker(line: sqlite3.Row) -> Blocker:
    """Return a run in the way of another, from its row."""
    return Blocker(run_id=text(line["run_id"]), worker=text(line["worker"]))


@legible("a run")
def run(line: sqlite3.Row) -> Run:
    """Return a line of the history, from its row."""
    said = {column: value for column, value in dict(line).items() if value is not None}
    return Run(**{column: READ[column](value) for column, value in said.items()})


@legible("a lease")
def lingering(line: sqlite3.Row) -> Lingering:
    """Return a kept lease, from its row."""
    return Lingering(
        name=text(line["name"]),
        is_job=bool(line["is_job"]),
        run_id=text(line["run_id"]),
        worker=text(line["worker"]),
        ended=None if line["ended"] is None else instant(line["ended"]),
    )
