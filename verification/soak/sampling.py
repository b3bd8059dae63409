"""What a process and a store take of the machine, as the system tells it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds; in these the system counts the time of processes."""


def of_process(proc: Path) -> dict[str, float]:
    """Memory in MiB, descriptors, and seconds of CPU.

    Args:
        proc: The folder of the process in `/proc`.
    """
    stat = (proc / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    memory = _memory(proc)
    return {
        "uss": (memory["Private_Clean"] + memory["Private_Dirty"]) / 1024,
        "rss": memory["Rss"] / 1024,
        "descriptors": len(list((proc / "fd").iterdir())),
        "cpu": (int(stat[11]) + int(stat[12])) * TICK,
    }


def _memory(proc: Path) -> dict[str, int]:
    """In KiB, by the system's words for it."""
    lines = (proc / "smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    return {words[0].rstrip(":"): int(words[1]) for words in map(str.split, lines)}


def of_store(folder: Path) -> dict[str, float]:
    """MiB on the disk: of the whole folder, and of the write-ahead log in it."""
    sizes = {path.name: path.stat().st_size / 2**20 for path in folder.iterdir()}
    return {"store": sum(sizes.values()), "log": sum(size for name, size in sizes.items() if name.endswith("-wal"))}
