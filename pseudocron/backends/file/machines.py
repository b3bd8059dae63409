"""Which machines write into a folder: a lock that two of them share may hold for neither."""

from __future__ import annotations

import socket
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

LATELY = 3600 * 1_000_000
"""Microseconds for which a machine that wrote may be writing still."""


@cache
def this_machine() -> str:
    """Return an identifier of this machine, the same in all of its containers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


@cache
def booted() -> int:
    """Return when this machine was started, in microseconds since the epoch, or 0 if that is not known."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1_000_000 for line in lines if line.startswith("btime ")), 0)


def sign(db: sqlite3.Connection, now: int, machine: str) -> list[str]:
    """Note that this machine writes; the host names of others that have written lately.

    What was written before this machine was started may have been itself: each start gives it another identity.
    """
    db.execute("DELETE FROM machines WHERE wrote < ? OR machine = ?", (now - LATELY, machine))
    others = db.execute("SELECT host FROM machines WHERE wrote > ? ORDER BY wrote DESC", (booted(),)).fetchall()
    db.execute("INSERT INTO machines VALUES (?, ?, ?)", (machine, socket.gethostname(), now))
    return [str(row[0]) for row in others]
