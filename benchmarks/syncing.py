"""How often the disk is waited for in a drain, for each job, against huey: by `strace`, so these are no rates."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.contest import FEW, HUEY, OURS, drained, fill
from benchmarks.measuring import Row, show, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contest import Contestant

ROUNDS = 3
CALLS = ("fsync", "fdatasync")
ASYNC = replace(OURS, name="async functions", verb="drain", number=FEW)
CONTESTANTS = (
    ASYNC,
    replace(ASYNC, name="plain functions", fill="fill_plain"),
    replace(HUEY, verb="drain", number=FEW),
)


def _synced(one: Contestant, full: Path, stores: dict[str, str]) -> Callable[[], float]:
    """How often its process has synced a file, for each job."""

    def arm() -> float:
        with tempfile.TemporaryDirectory() as folder:
            told = Path(folder) / "told"
            strace = ("strace", "-f", "-qq", "--seccomp-bpf", "-e", f"trace={','.join(CALLS)}", "-o", str(told))
            measured = drained(replace(one, under=strace, check=""), full)
            stores[one.name] = str(measured["store"])
            lines = told.read_text(encoding="utf-8").splitlines()
        return sum(any(f"{call}(" in line for call in CALLS) for line in lines) / one.number

    return arm


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    if shutil.which("strace") is None:
        raise FileNotFoundError("strace is missing: it counts the calls")
    stores: dict[str, str] = {}
    with ExitStack() as stack:
        full = fill(CONTESTANTS, stack)
        arms = {one.name: _synced(one, full[one.name], stores) for one in CONTESTANTS}
        figures = side_by_side(arms, rounds=ROUNDS)
    theirs = f"{HUEY.name} {median(figures[HUEY.name]):.2f} ({stores[HUEY.name]})"
    return [
        Row(
            what=f"syncs of files for each job, draining {FEW:,} due jobs at 10 at once; {name}",
            goal="none",
            measured=f"{median(figures[name]):.2f} ({stores[name]}), {theirs}",
            met=None,
        )
        for name in figures
        if name != HUEY.name
    ]


if __name__ == "__main__":
    show(measure())
