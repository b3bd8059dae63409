"""Visits while freezegun or time-machine has set the time, as in the tests of an application."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from freezegun import freeze_time
from support import environ_with, hello, visit

import pseudocron
from pseudocron import Crons, PseudoCronMiddleware, lockfile
from pseudocron.errors import BackendError
from pseudocron.lockfile import LockFile
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pseudocron.process import Process

FUTURE, PAST = datetime(2077, 5, 1, tzinfo=UTC), datetime(1999, 5, 1, tzinfo=UTC)

WAYS: dict[str, Callable[[datetime], AbstractContextManager[Any]]] = {
    "freezegun": freeze_time,
    "freezegun, ticking": lambda when: freeze_time(when, tick=True),
    "time-machine": lambda when: time_machine.travel(when, tick=False),
    "time-machine, ticking": time_machine.travel,
}


def served(folder: Path) -> tuple[PseudoCronMiddleware, Process, list[datetime]]:
    """An application with a cron that is due at each poll."""
    crons, runs = Crons(backend=f"file:{folder}"), list[datetime]()

    @crons.every(seconds=1)
    async def work() -> None:
        runs.append(datetime.now(UTC))

    return PseudoCronMiddleware(hello, crons=crons), process_of(crons), runs


async def visit_and_settle(app: PseudoCronMiddleware, process: Process) -> None:
    await visit(app)
    while busy := process.runtime().busy():
        await asyncio.wait(busy)


async def last_poll(process: Process) -> datetime | None:
    async with process.store() as (_, backend):
        return (await backend.states([])).polled


async def run_visits(way: str, when: datetime, folder: Path) -> None:
    app, process, runs = served(folder)
    with WAYS[way](when):
        await visit_and_settle(app, process)
    assert [run.year for run in runs] == [when.year]  # the wall clock is the one that the test has set
    assert process.deadline <= process.monotonic() + 60
    process.bring_forward(0)
    await visit_and_settle(app, process)
    polled = await last_poll(process)
    assert polled is not None
    assert abs(polled - datetime.now(UTC)) < timedelta(seconds=5)
    await process.runtime().close()


@pytest.mark.parametrize("when", [FUTURE, PAST], ids=["future", "past"])
@pytest.mark.parametrize("way", WAYS)
def test_a_process_polls_after_a_visit_in_another_time(way: str, when: datetime, tmp_path: Path) -> None:
    asyncio.run(run_visits(way, when, tmp_path))


IMPORTED_WHILE_FROZEN = """
from freezegun import freeze_time

with freeze_time("2077-05-01"):
    from pseudocron.process import Process

process = Process(None)
process.request_polls()
print(process.deadline - process.monotonic(), process.monotonic())
"""


def test_an_import_in_another_time_has_the_real_clock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPORTED_WHILE_FROZEN]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=environ_with(tmp_path))
    left, now = map(float, run.stdout.split())
    assert 0 < left <= 1
    assert now <= time.clock_gettime(time.CLOCK_MONOTONIC)


def test_a_busy_lock_file_is_given_up_while_the_time_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockfile, "PATIENCE", 0.05)
    path = tmp_path / "lock"
    ours, theirs = LockFile(path), LockFile(path)
    ours.enter(60)
    with theirs.tried() as got, freeze_time(PAST):
        assert got
        with pytest.raises(BackendError, match="locked by another process"):
            ours.lower(0, 60)


def test_no_module_has_a_monotonic_clock_of_its_own() -> None:
    root = Path(pseudocron.__file__).parent
    exempt = {root / "clock.py", root / "executors" / "supervisor.py"}  # the latter is a process of its own
    own = re.compile(r"\btime\.monotonic\b|from time import .*\bmonotonic\b")
    assert [path for path in sorted({*root.rglob("*.py")} - exempt) if own.search(path.read_text())] == []
