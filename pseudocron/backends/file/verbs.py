"""What the verbs of one transaction have in common: a connection, the time, and what follows for the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends.legible import EPOCH, MICROSECOND

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime


class Verbs:
    """Verbs for the length of one transaction.

    Args:
        db: A connection with a transaction begun, so that no other one comes between.
        now: The clock, read after that.

    Attributes:
        due: To when the gate is to be brought forward after the commit, if at all.
    """

    def __init__(self, db: sqlite3.Connection, *, now: datetime) -> None:
        self._db = db
        self._now = now
        self.due: datetime | None = None

    def _bring_forward(self, due: datetime | None) -> None:
        """Let the gate be brought forward to an instant, if there is one, and no other one is earlier."""
        if due is not None:
            self.due = min(due, self.due or due)


def micros(moment: datetime) -> int:
    """Return the whole microseconds since the Unix epoch."""
    return (moment - EPOCH) // MICROSECOND
