"""A run leaves nothing behind: no object, no memory, no task, no thread, no descriptor."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import LONG, Lifespan, hello, until, visit

import pseudocron
from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.file import commits
from pseudocron.executors.threads import shared_threads
from pseudocron.process import process_of
from pseudocron.testing import FakeScheduler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Doing = Callable[[int], Awaitable[None]]

RUNS = 1000 if LONG else 250
KEPT = 100
"""By so many objects of a kind there may be more: the latest are remembered, such as the last run of each cron."""
TRACED = 100
"""To trace what is held takes several times as long."""
BYTES = 3000
"""By so many more our own lines may then hold, 30 for each run: no object is as small."""


@dataclass
class Held:
    """What a process has when all is quiet."""

    objects: Counter[type]
    tasks: int
    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        return cls(
            objects=Counter(map(type, gc.get_objects())),
            tasks=len(asyncio.all_tasks()),
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            threads=threading.active_count(),
        )


async def leaves_no_object(do: Doing, runs: int) -> None:
    """Whether so many runs leave nothing, after a few which make what is kept for good, such as a pool's threads."""
    await do(-(-runs // 5))
    before = Held.now()
    threads = before.threads
    for _ in range(3):  # what is imported late is kept for good too; of a leak there is more each time
        await do(runs)
        await until(lambda: threading.active_count() <= threads, 15)  # of leases: until the next beat
        held, before = before, Held.now()
        more = {kind: more for kind, more in (before.objects - held.objects).items() if more > KEPT}
        if not more:
            break
    assert more == {}
    # A poll may be under way, as a visitor's last one has another behind it; what is left behind stays.
    await until(lambda: is_no_more(Held.now(), held), 15)


def is_no_more(now: Held, before: Held) -> bool:
    return now.tasks <= before.tasks and now.descriptors <= before.descriptors


async def leaves_no_bytes(do: Doing) -> None:
    """The same by the lines that have made what is held, whatever it is; of a leak there is more each time."""
    tracemalloc.start()
    try:
        held, grown = 0, BYTES
        for _ in range(6):  # at first all that is kept is replaced by what is traced
            await do(TRACED)
            now = held_by_our_lines()
            grown, held = now - held, now
            if grown < BYTES:
                break
    finally:
        tracemalloc.stop()
    assert grown < BYTES


def held_by_our_lines() -> int:
    gc.collect()
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([OUR_LINES]).traces)


async def leaves_nothing(do: Doing, runs: int = RUNS) -> None:
    await leaves_no_object(do, runs)
    await leaves_no_bytes(do)


OUR_LINES = tracemalloc.Filter(True, str(Path(pseudocron.__file__).parent / "*"))


async def on_the_loop() -> None:
    await asyncio.sleep(0)


def in_a_thread() -> None:
    pass


async def fails() -> None:
    raise ValueError("it does not work")


@pytest.fixture(autouse=True)
def nothing_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pytest keeps what is."""
    monkeypatch.setattr(logging.getLogger("pseudocron"), "disabled", True)


@pytest.fixture(autouse=True)
def threads_are_idle_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As each test waits for those that are left."""
    monkeypatch.setattr(shared_threads(), "idle_seconds", 0.2)
    monkeypatch.setattr(commits, "IDLE", 0.2)


@pytest.mark.parametrize(("target", "runs"), [(on_the_loop, RUNS), (in_a_thread, RUNS), (fails, 200 if LONG else 125)])
def test_many_runs_of_crons_leave_nothing_behind(target: Callable[[], object], runs: int) -> None:
    crons = Crons(concurrency=50, history=1)
    for number in range(25):
        crons.add(str(number), target, 1)

    scheduler = FakeScheduler(crons)

    async def run(runs: int) -> None:
        assert len(await scheduler.advance(seconds=runs / len(crons))) >= runs

    asyncio.run(leaves_nothing(run, runs))


def test_jobs_leave_nothing_behind_when_they_are_forgotten() -> None:
    crons = Crons(concurrency=50)
    job = crons.task(name="job")(a_job)
    scheduler = FakeScheduler(crons)

    async def run(runs: int) -> None:
        for _ in range(-(-runs // TRACED)):
            await asyncio.gather(*(job.defer("somebody") for _ in range(TRACED)))
            assert len(await scheduler.advance(seconds=1)) == TRACED
            await scheduler.advance(days=8)
            await scheduler.advance(seconds=0)
            assert not any((await crons._connect().counts()).values())

    asyncio.run(leaves_nothing(run))


async def a_job(whom: str) -> None:
    assert whom


def test_child_processes_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "child.py").touch()
    crons = Crons(history=1)
    crons.add("child", tmp_path / "child.py", 1)
    assert len(list(crons)) == 1  # read here, as that blocks
    scheduler = FakeScheduler(crons)

    async def run(runs: int) -> None:
        assert {ran.outcome for ran in await scheduler.advance(seconds=runs)} == {"succeeded"}

    asyncio.run(leaves_no_object(run, 3))


def test_visits_with_their_looks_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pseudocron.worker.delays.KEPT", 1)  # or it would take long to fill
    crons = Crons(backend=f"file:{tmp_path}/store", durability="process", history=1, concurrency=20, lease=1)
    app = PseudoCronMiddleware(hello, crons=crons)
    ran = 0

    async def tell() -> None:
        nonlocal ran
        ran += 1

    for number in range(10):
        crons.add(str(number), tell, 0.001)

    async def run(runs: int) -> None:
        goal = ran + runs
        while ran < goal:
            await visit(app)
            await asyncio.sleep(0.001)  # or the threads of the looks would wait for the interpreter
        await process_of(crons).runtime().settle(10 if LONG else 1)  # there is always a slot that is due

    async def go() -> None:
        async with Lifespan(app):
            await leaves_no_object(run, 200 if LONG else 120)

    asyncio.run(go())
