"""How many Python calls within the package a warm job and a cold cron take, in all threads, on the memory store.

Unlike times they are the same on any machine. A coroutine that goes on after a wait counts once more. Each is counted
in a process of its own: only threads that are started under a profiler are seen.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pseudocron
from benchmarks.measuring import Row, show
from pseudocron import Crons
from pseudocron.backends.model import State
from pseudocron.polling import PollReason
from pseudocron.process import Process

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import FrameType

ROOT = Path(__file__).parents[1]
PACKAGE = str(Path(pseudocron.__file__).parent) + "/"
WARM, JOBS, MANY = 20, 50, 1000
GOALS = {"job": 200, "cron": 260}
MODULES = 12
"""How many modules are named."""


class Calls:
    """Counts the calls of functions of the package, by module, while it is on."""

    def __init__(self) -> None:
        self.by_module: Counter[str] = Counter()
        self._is_on = False
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and self._is_on and (path := frame.f_code.co_filename).startswith(PACKAGE):
            self.by_module[path.removeprefix(PACKAGE)] += 1

    async def of(self, work: Callable[[], Awaitable[object]]) -> Mapping[str, int]:
        """Count those of some work."""
        self._is_on = True
        try:
            await work()
        finally:
            self._is_on = False
        return self.by_module


async def _quiet() -> None:
    """Wait until this is the only task, without calling the package."""
    for _ in range(3):  # a deferred job requests its poll from the next turn of the event loop
        await asyncio.sleep(0)
    while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - nothing else tells
        await asyncio.sleep(0)


async def _job(calls: Calls) -> Mapping[str, float]:
    """Count for a job from `defer` to its record, one after the other, in a process that has run some."""
    crons = Crons(backend="memory:")

    @crons.task
    async def job(number: int) -> None:
        assert number >= 0

    process = Process(crons)
    runtime = process.runtime()
    lifetime = await runtime.start()

    async def one(number: int) -> None:
        await job.defer(number)
        await _quiet()

    async def some() -> None:
        for number in range(WARM, WARM + JOBS):
            await one(number)

    for number in range(WARM):
        await one(number)
    found = await calls.of(some)
    assert runtime.jobs_ended[State.SUCCEEDED] == WARM + JOBS
    await runtime.stop(lifetime)
    return {module: number / JOBS for module, number in found.items()}


async def _drained(calls: Calls) -> Mapping[str, float]:
    """Count for one of many jobs that were deferred at once, in a process that has run some."""
    crons = Crons(backend="memory:")

    @crons.task
    async def job(number: int) -> None:
        assert number >= 0

    process = Process(crons)
    runtime = process.runtime()
    lifetime = await runtime.start()
    await job.defer_many({"number": number} for number in range(WARM))
    await _quiet()
    await job.defer_many({"number": number} for number in range(MANY))
    found = await calls.of(_quiet)
    assert runtime.jobs_ended[State.SUCCEEDED] == WARM + MANY
    await runtime.stop(lifetime)
    return {module: number / MANY for module, number in found.items()}


async def _cron(calls: Calls) -> Mapping[str, float]:
    """Count for a cron that this process has never polled for, from the first request to its record."""
    crons, ran = Crons(backend="memory:"), 0

    @crons.every(minutes=5)
    async def cron() -> None:
        nonlocal ran
        ran += 1

    process = Process(crons)
    runtime = process.runtime()
    lifetime = await runtime.start()

    async def one() -> None:
        runtime.request_poll(PollReason.REQUEST)
        await _quiet()

    found = await calls.of(one)
    assert ran == 1
    await runtime.stop(lifetime)
    return dict(found)


COUNTED = {"job": _job, "drained": _drained, "cron": _cron}
WORDS = {
    "job": "a warm job alone, from `defer` to its record",
    "drained": "a job of a thousand that are drained, to its record",
    "cron": "a cold cron, from the first request to its record",
}


def counted(what: str) -> Mapping[str, float]:
    """Return the calls by module, counted in a process of its own."""
    argv = [sys.executable, "-m", "benchmarks.calls", what]
    done = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def words(found: Mapping[str, float]) -> str:
    """Return the modules with the most calls."""
    most = sorted(found.items(), key=lambda one: -one[1])[:MODULES]
    return ", ".join(f"{module} {number:.0f}" for module, number in most)


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    rows = []
    for what, of in WORDS.items():
        found = counted(what)
        measured = f"{sum(found.values()):.0f}: {words(found)}"
        goal, total = GOALS.get(what), sum(found.values())
        row = Row(
            what=f"calls within the package, {of}; memory store",
            goal=f"{goal} at most" if goal else "none",
            measured=measured,
            met=None if goal is None else total <= goal,
        )
        rows.append(row)
    return rows


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(asyncio.run(COUNTED[sys.argv[1]](Calls()))))
    else:
        show(measure())
