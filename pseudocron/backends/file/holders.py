"""Which process holds a lease: one that is gone renews no more, and its leases end with its children."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pseudocron.backends.file.machines import this_machine

if TYPE_CHECKING:
    import sqlite3

CHILDREN_LIVE = 1_000_000
"""Microseconds within which the children of a process that was killed are gone too."""

_PROCESS = re.compile(r"(?P<where>.*)/(?P<pid>[1-9]\d{,9})@(?P<born>\d+)", re.ASCII)
_HOLDERS = "SELECT process, min(lease) FROM {0} WHERE lease > ? AND process <> ? GROUP BY process"
_HOLDING = """
    SELECT process FROM runs WHERE lease > ?1 AND process <> ?2
    UNION SELECT process FROM running WHERE lease > ?1 AND process <> ?2"""
_FORSAKE = "UPDATE {0} SET lease = ? WHERE process = ? AND lease > ?"
TABLES = ("runs", "running")
"""Those with leases: of runs, and of jobs."""


def this_process() -> str | None:
    """What tells this process from all others of all machines; None where the system does not tell."""
    return _process(os.getpid())  # another one after a fork


def is_any_gone(db: sqlite3.Connection, now: int) -> bool:
    """Return whether a process is gone that holds a lease which `forsake` would end earlier; reads only."""
    holding = db.execute(_HOLDING, (now + CHILDREN_LIVE, this_process())).fetchall()
    return any(is_gone(process) for (process,) in holding)


def forsake(db: sqlite3.Connection, now: int) -> int | None:
    """Let the leases of processes that are gone end within a second; when the first of them does, in microseconds."""
    until = now + CHILDREN_LIVE
    ends = []
    for table in TABLES:
        for process, first in db.execute(_HOLDERS.format(table), (now, this_process())).fetchall():
            if is_gone(process):
                db.execute(_FORSAKE.format(table), (until, process, until))
                ends.append(min(first, until))
    return min(ends, default=None)


def is_gone(process: object) -> bool:
    """Whether that process has surely ended; False of one on another machine, or in another container."""
    said = _PROCESS.fullmatch(str(process))
    if said is None or said["where"] != _where():
        return False
    pid = int(said["pid"])
    try:
        os.kill(pid, 0)  # tells of those too that `/proc` hides from us
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return _born(pid) not in {said["born"], None}


@cache
def _process(pid: int) -> str | None:
    where, born = _where(), _born(pid)
    return f"{where}/{pid}@{born}" if where and born else None


@cache
def _where() -> str | None:
    """This machine and the container: where the number of a process, and the time of its start, mean the same."""
    try:
        own, *spaces = (os.readlink(f"/proc/self{part}") for part in ("", "/ns/pid", "/ns/time"))  # noqa: PTH115 - no paths
    except OSError:
        return None
    if own != str(os.getpid()):  # that `/proc` is another container's, and numbers processes otherwise
        return None
    return " ".join((this_machine(), *spaces))


def _born(pid: int) -> str | None:
    """When a process was started, as its number may come again; None if that can't be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return "dead" if fields[0] in {"X", "Z"} else fields[19]
