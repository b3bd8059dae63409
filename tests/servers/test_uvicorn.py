"""The main job: an application served by real uvicorn workers, whose crons run because people visit it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from backends.using import opened
from support import wait_until

from harness.process_tree import descendants, running
from pseudocron.backends.model import Reason, Run, Skip, State
from servers.serving import Server, Visitors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECOND = timedelta(seconds=1)
HALF = SECOND / 2
EPOCH = datetime.fromtimestamp(0, UTC)


def history(folder: Path) -> Sequence[Run | Skip]:
    """What the store knows of all crons, the newest of each first."""

    async def read() -> Sequence[Run | Skip]:
        async with opened("file:.pseudocron", folder=folder) as backend:
            timelines = await backend.timelines(limit=1000)
            return [line for lines in timelines.values() for line in lines]

    return asyncio.run(read())


def runs_in(folder: Path) -> list[Run]:
    return [line for line in history(folder) if isinstance(line, Run)]


def skips_in(folder: Path) -> list[Skip]:
    return [line for line in history(folder) if isinstance(line, Skip)]


@pytest.mark.alone
def test_with_four_workers_every_slot_runs_once_and_none_is_missed(tmp_path: Path) -> None:
    crons = """\
    {
        "loop": ("jobs:on_the_loop", 1),
        "thread": ("jobs:in_a_thread", 1),
        "script": ("script.py", 1),
        "often": ("jobs:on_the_loop", 0.1),
    }
    DURABILITY = "process"  # who has to wait seconds for a busy disk misses slots, and that is another matter
    """
    with Server(tmp_path, dedent(crons)).uvicorn("--workers", "4") as server:
        with Visitors(server) as visitors:
            wait_until(lambda: len(server.notes("script")) >= 8, 60)
        wait_until(lambda: not any(run.state is State.RUNNING for run in runs_in(tmp_path)), 5)
        server.stop()
    assert visitors.served > 100

    def skipped(name: str, reason: Reason) -> int:
        return sum(skip.slots for skip in skips_in(tmp_path) if (skip.name, skip.reason) == (name, reason))

    for name in ("loop", "thread", "script", "often"):
        notes = server.notes(name)
        assert len(set(notes)) == len(notes), f"{name}: a slot ran twice"
    for name in ("loop", "thread", "script"):
        slots = sorted(map(datetime.fromisoformat, server.notes(name)))
        passed = (slots[-1] - slots[0]) // SECOND + 1
        assert len(slots) + skipped(name, Reason.OVERLAP) >= passed, f"{name}: a slot was missed"
        assert not skipped(name, Reason.NO_TRAFFIC), f"{name}: nobody looked"
        # A niced script on a busy machine may take longer than a second.
        assert name == "script" or not skipped(name, Reason.OVERLAP)
    assert len({run.worker for run in runs_in(tmp_path)}) > 1, "one worker did it all"
    assert "Traceback" not in server.log


def test_sigterm_drains_what_can_end_and_interrupts_what_can_not(tmp_path: Path) -> None:
    crons = '{"drained": ("jobs:until_told", 3600)}'
    with Server(tmp_path, crons).uvicorn() as server:
        wait_until(lambda: server.notes("drained") == ["begins"], 5)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not server.visit(), 5)
        (tmp_path / "end").touch()
        server.process.wait(4)  # less than its drain of 5 s
    assert server.notes("drained") == ["begins", "ends"]
    assert [run.state for run in runs_in(tmp_path)] == [State.SUCCEEDED]


@pytest.mark.alone
def test_sigterm_gives_a_run_its_drain_and_then_records_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PSEUDOCRON_DRAIN", "0.5")
    crons = '{"endless": ("jobs:until_told", 3600)}'
    with Server(tmp_path, crons).uvicorn() as server:
        wait_until(lambda: server.notes("endless"), 5)
        told = time.monotonic()
        server.stop()
        assert 0.5 <= time.monotonic() - told < 2
    assert [run.state for run in runs_in(tmp_path)] == [State.INTERRUPTED]


@pytest.mark.alone
def test_sigkill_of_a_worker_in_the_middle_of_a_script_ends_the_script(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(
        "import os, time\nopen('pid', 'w').write(f'{os.getpid()} ')\nwhile True: sum(range(10**9))"
    )
    with Server(tmp_path, '{"endless": ("endless.py", 3600)}').uvicorn("--workers", "2") as server:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith(" "), 5)
        script = int((tmp_path / "pid").read_text())
        (worker,) = (worker for worker in server.workers() if script in descendants(worker))
        os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda: not running(script), 5)
        assert time.monotonic() - killed < 2, "a second, and one for the noise of the machine"


@pytest.mark.alone
def test_a_rare_visitor_runs_the_latest_slot_and_the_others_are_missed(
    tmp_path: Path,
) -> None:
    with Server(tmp_path, '{"each": ("jobs:on_the_loop", 0.5)}').uvicorn() as server:
        wait_until(lambda: server.notes("each"), 5)
        visits, before, after = [], [], []
        for _ in range(2):
            before.append(newest := datetime.fromisoformat(server.notes("each")[-1]))
            known = len(server.notes("each"))
            wait_until(lambda due=newest + 5 * HALF: datetime.now(due.tzinfo) >= due, 5)  # type: ignore[misc]
            visits.append(datetime.now(newest.tzinfo))
            assert server.visit()
            wait_until(lambda known=known: len(server.notes("each")) > known, 5)  # type: ignore[misc]
            after.append(datetime.fromisoformat(server.notes("each")[known]))
        server.stop()
    assert after == [visit - (visit - EPOCH) % HALF for visit in visits]
    skips = [skip for skip in skips_in(tmp_path) if skip.reason is Reason.NO_TRAFFIC]
    assert [skip.slot for skip in reversed(skips)] == [slot - HALF for slot in after]
    passed = [(slot - newest) // HALF for newest, slot in zip(before, after, strict=True)]
    assert [skip.slots for skip in reversed(skips)] == [slots - 1 for slots in passed]


@pytest.mark.alone
def test_with_the_ticker_and_no_visitor_at_all_it_runs_in_each_slot(tmp_path: Path) -> None:
    server = Server(tmp_path, '{"each": ("jobs:on_the_loop", 0.5)}', ", ticker=True").uvicorn("--workers", "2")
    try:
        wait_until(lambda: len(server.notes("each")) >= 5, 10)
    finally:
        server.stop()
    slots = list(map(datetime.fromisoformat, server.notes("each")))
    assert slots == [slots[0] + number * HALF for number in range(len(slots))]


def test_an_edit_of_the_configuration_reaches_every_worker(tmp_path: Path) -> None:
    server = Server(tmp_path, '{"before": ("jobs:on_the_loop", 0.2)}')
    with (tmp_path / "jobs.py").open("a") as module:
        module.write("def who():\n    note(os.getpid())\n")
    with server.uvicorn("--workers", "2"), Visitors(server):
        wait_until(lambda: server.notes("before"), 5)
        (tmp_path / "crons.py").write_text('crons = {"after": ("jobs:who", 0.05)}')
        wait_until(lambda: server.notes("after"), 5)
        wait_until(lambda: len(set(server.notes("after"))) == 2, 20)


def test_a_broken_edit_keeps_the_last_good_configuration_and_says_so(tmp_path: Path) -> None:
    with Server(tmp_path, '{"each": ("jobs:on_the_loop", 0.2)}').uvicorn() as server, Visitors(server, 1):
        wait_until(lambda: server.notes("each"), 5)
        (tmp_path / "crons.py").write_text('crons = {"each": ("jobs:on_the_loop", 0.2)')
        wait_until(lambda: "'(' was never closed" in server.log or "was never closed" in server.log, 5)
        count = len(server.notes("each"))
        wait_until(lambda: len(server.notes("each")) > count + 2, 5)
        assert server.log.count("was never closed") == 1


def test_a_bad_configuration_stops_the_server_with_its_one_line(tmp_path: Path) -> None:
    server = Server(tmp_path, '{"digest": {"run": "jobs:in_a_thread", "schedule": 60, "timout": 5}}').uvicorn()
    assert server.process.wait(30) != 0
    assert "crons.py: 'digest': unknown option 'timout', did you mean 'timeout'?" in server.log
    assert "Traceback" not in server.log
