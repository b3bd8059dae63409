"""Which process holds a lease: one that is gone renews no more, and its leases end with its children."""

from __future__ import annotations

import os
import re
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.file.machines import this_machine
from pseudocron.backends.file.transaction import after

if TYPE_CHECKING:
    import sqlite3

    from pseudocron.backends.file.transaction import Transaction

_PROCESS = re.compile(r"(?P<where>.*)/(?P<pid>[1-9]\d{,9})@(?P<born>\d+)", re.ASCII)
_HOLDING = "SELECT DISTINCT process FROM living WHERE lease > ? AND process <> ?"
_SHORTEN = "UPDATE living SET lease = ? WHERE process = ? AND lease > ?"


def this_process() -> str | None:
    """Return what tells this process from all others of all machines; None where the system does not tell."""
    return _process(os.getpid())  # another one after a fork


def is_any_gone(db: sqlite3.Connection, now: int) -> bool:
    """Return whether a process is gone that holds a lease which `shorten` would end earlier; reads only."""
    holding = db.execute(_HOLDING, (_children_end(now), this_process())).fetchall()
    return any(is_gone(process) for (process,) in holding)


def shorten(txn: Transaction) -> None:
    """Let the leases of processes that are gone end as soon as their children have ended too."""
    until, own = _children_end(txn.now), txn.terms.process
    if own is None:
        return
    for (process,) in txn.db.execute(_HOLDING, (until, own)).fetchall():
        if is_gone(process):
            txn.db.execute(_SHORTEN, (until, process, until))


def _children_end(now: int) -> int:
    return after(now, rules.CHILDREN_END_WITHIN)


def is_gone(process: object) -> bool:
    """Return whether a process has surely ended; False of one on another machine, or in another container."""
    said = _PROCESS.fullmatch(str(process))
    if said is None or said["where"] != _where():
        return False
    pid = int(said["pid"])
    try:
        os.kill(pid, 0)  # finds those too that `/proc` hides from us
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
    """Return this machine and the container, in which a pid and the time of a start mean the same."""
    try:
        own, *spaces = (os.readlink(f"/proc/self{part}") for part in ("", "/ns/pid", "/ns/time"))  # noqa: PTH115 - no paths
    except OSError:
        return None
    if own != str(os.getpid()):  # that `/proc` is another container's, and numbers processes otherwise
        return None
    return blake2b(" ".join((this_machine(), *spaces)).encode(), digest_size=8).hexdigest()


def _born(pid: int) -> str | None:
    """Return when a process was started, as its number may come again; None if that can't be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return "dead" if fields[0] in {"X", "Z"} else fields[19]
