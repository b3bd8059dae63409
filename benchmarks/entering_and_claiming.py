"""What entering the gate and claiming a slot cost, against the bare lock and the bare transaction below them."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import portalocker

from benchmarks.measuring import Row, ratios, show, side_by_side, spread
from benchmarks.polling import claiming_a_slot
from pseudocron.backends.file import gate as gates
from pseudocron.backends.file.backend import File
from pseudocron.backends.file.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Barrier

    from pseudocron.backends.questions import Poll, Polled

    Work = Callable[[Path, int], None]
    Arm = Callable[[Work, Path, int], Callable[[], float]]

ENTRIES, CLAIMS = 1000, 100
"""How often each process does it in one round."""
CROWD = 16
ROUNDS, CROWDED_ROUNDS = 20, 6
GOAL = 1.5
MAX_AGE = 60.0
PATIENCE = 60.0
"""Seconds for which a bare transaction waits for its turn."""


def enter(folder: Path, times: int) -> None:
    """Enter the gate and date it, as a poll that is forced does, or find it locked by somebody who does."""
    gate = gates.FileGate(folder / "cron.lock")
    for _ in range(times):
        with gate.entering() as entered:
            if entered:
                dated, now = gate.dated(), time.time_ns() // 1000
                gates.enter(gate, dated, now, gates.stale_in(dated, now, MAX_AGE))


def lock(folder: Path, times: int) -> None:
    """Take the lock and write the date, or find it taken."""
    path = folder / "bare.lock"
    for _ in range(times):
        with path.open("a") as file:
            try:
                portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
            except portalocker.AlreadyLocked:
                continue
            portalocker.unlock(file)


def claim(folder: Path, times: int) -> None:
    """Poll for one slot each of so many crons, in the thread to which the event loop would hand that."""
    backend = File(folder)
    asyncio.run(backend.open())
    for name in _names(times):
        polled = backend._store.write(_polling(backend, claiming_a_slot(name)))  # noqa: SLF001 - less its hop
        assert polled is not None
        assert len(polled.claims) == 1
    asyncio.run(backend.close())


def _polling(backend: File, poll: Poll) -> Operation[Polled | None]:
    return Operation(lambda store: backend._poll(store, poll), is_alone=True)  # noqa: SLF001 - as above


def claim_from_a_loop(folder: Path, times: int) -> None:
    """Claim from an event loop, with a hop to a thread and back for each."""
    asyncio.run(_claim(folder, times))


async def _claim(folder: Path, times: int) -> None:
    backend = File(folder)
    await backend.open()
    for name in _names(times):
        polled = await backend.poll(claiming_a_slot(name))
        assert polled is not None
        assert len(polled.claims) == 1
    await backend.close()


def _names(times: int) -> list[str]:
    """Crons that nobody has seen before, in any process or round."""
    return [f"cron {os.getpid()} {time.time_ns()} {number}" for number in range(times)]


def commit(folder: Path, times: int) -> None:
    """Commit a mark and a line of history in one transaction, with the same durability."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None, timeout=PATIENCE)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, mark INTEGER)")
    db.execute("CREATE TABLE IF NOT EXISTS lines (id INTEGER PRIMARY KEY, name TEXT, slot INTEGER)")
    for name in _names(times):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO marks VALUES (?, 0)", (name,))
        db.execute("INSERT INTO lines (name, slot) VALUES (?, 0)", (name,))
        db.execute("COMMIT")
    db.close()


def _alone(work: Work, folder: Path, times: int) -> Callable[[], float]:
    """Microseconds that each takes where nobody else does it."""

    def arm() -> float:
        began = time.perf_counter()
        work(folder, times)
        return (time.perf_counter() - began) / times * 1e6

    return arm


def _crowd(work: Work, folder: Path, times: int) -> Callable[[], float]:
    """Microseconds that each takes where many processes do it at once: the time of all by the number of all."""

    def arm() -> float:
        context = multiprocessing.get_context("fork")
        start = context.Barrier(CROWD + 1)
        crowd = [context.Process(target=_in_step, args=(start, work, folder, times)) for _ in range(CROWD)]
        for process in crowd:
            process.start()
        start.wait()
        began = time.perf_counter()
        for process in crowd:
            process.join()
        assert not any(process.exitcode for process in crowd)
        return (time.perf_counter() - began) / times / CROWD * 1e6

    return arm


def _in_step(start: Barrier, work: Work, folder: Path, times: int) -> None:
    start.wait()
    work(folder, times)


def _row(what: str, ours: Work, bare: Work, *, arm: Arm, times: int, rounds: int, goal: float | None = GOAL) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        arms = {"ours": arm(ours, Path(folder), times), "bare": arm(bare, Path(folder), times)}
        side_by_side(arms, rounds=1)
        figures = side_by_side(arms, rounds=rounds)
    against = ratios(figures["ours"], figures["bare"])
    return Row(
        what=what,
        goal="none" if goal is None else f"{goal:.1f}",
        measured=f"{spread(against)}: {median(figures['ours']):.0f} us of {median(figures['bare']):.0f} us",
        met=None if goal is None else median(against) <= goal,
    )


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    gate = "entering the gate, against `portalocker.lock`"
    slot = "a poll that claims a slot, against a bare SQLite transaction (WAL, FULL)"
    hops = "the same with the hops from and to an event loop; one process"
    crowd = f"{CROWD} contending"
    return [
        _row(f"{gate}; one process", enter, lock, arm=_alone, times=ENTRIES, rounds=ROUNDS),
        _row(f"{gate}; {crowd}", enter, lock, arm=_crowd, times=ENTRIES, rounds=CROWDED_ROUNDS),
        _row(f"{slot}; one process", claim, commit, arm=_alone, times=CLAIMS, rounds=ROUNDS),
        _row(hops, claim_from_a_loop, commit, arm=_alone, times=CLAIMS, rounds=ROUNDS, goal=None),
    ]


if __name__ == "__main__":
    show(measure())
