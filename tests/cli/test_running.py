"""Runs by hand, and a process that looks until it is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support import wait_until

from cli.shell import asked, pseudocron, recorded, start

if TYPE_CHECKING:
    from pathlib import Path

RUNS = """
crons = {
    "works": ("jobs:work", 3600),
    "fails": ("jobs:fail", 3600),
    "hangs": {"run": "jobs:until_told", "schedule": "0 0 1 1 *", "timeout": 0.1},
    "waits": ("jobs:until_told", "0 0 1 1 *"),
    "script": ("script.py", 3600),
    "off": {"run": "jobs:work", "schedule": 60, "enabled": False},
}
"""

NOTES = """
import os, time
from pathlib import Path
from pseudocron import current_run

def note():  # stays until the other process has noted something: who is full leaves it room
    file = os.open("notes.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{os.getpid()} {current_run().slot.isoformat()}\\n".encode())
    os.close(file)
    while len({line.split()[0] for line in Path("notes.txt").read_text().splitlines()}) < 2:
        time.sleep(0.005)
"""


SHORT = """
from pseudocron.cli import ending
from pseudocron.executors import graces
ending.END_WITHIN = graces.TIMEOUT = graces.CANCEL = 0.2
"""
STUBBORN = """
import asyncio, time
from pathlib import Path
import prepared

def until_told():
    Path("begun").touch()
    time.sleep(1000)

async def blocks_the_loop():
    until_told()

async def swallows():
    Path("begun").touch()
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass

async def swallows_in_a_thread():
    await asyncio.to_thread(until_told)
"""


@pytest.fixture
def runs(folder: Path) -> Path:
    (folder / "crons.py").write_text(RUNS)
    (folder / "script.py").write_text("print('from the script')")
    (folder / "stubborn.py").write_text(STUBBORN)
    (folder / "prepared.py").write_text("")
    return folder


@pytest.mark.parametrize(
    ("name", "code", "outcome", "printed", "logged"),
    [
        ("works", 0, "succeeded", "at work\n", "succeeded"),
        ("script", 0, "succeeded", "from the script\n", "succeeded"),
        ("fails", 1, "failed", "", "ZeroDivisionError: division by zero"),
        ("hangs", 3, "timed_out", "", "timed out after 0.1 s"),
    ],
)
def test_the_exit_code_of_a_run_is_its_outcome_and_what_it_prints_is_shown(
    name: str, code: int, outcome: str, printed: str, logged: str, runs: Path
) -> None:
    done = pseudocron(runs, "run", name)
    assert (done.returncode, done.stdout) == (code, printed), done.stderr
    assert logged in done.stderr
    assert [run.outcome for run in recorded(runs, name)] == [outcome]


DIES_WITH_ALL = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_DFL)
for pid in (os.getppid(), os.getpid()):
    os.kill(pid, signal.SIGTERM)
"""
SAYS_WHO = """
import os, time
from pathlib import Path
Path("begun.new").write_text(f"{os.getpid()} {os.getppid()}")
Path("begun.new").rename("begun")
while not Path("end").exists():
    time.sleep(0.005)
"""


def test_a_run_that_dies_with_its_supervisor_is_interrupted_and_exits_with_5(runs: Path) -> None:
    (runs / "script.py").write_text(DIES_WITH_ALL)
    done = pseudocron(runs, "run", "script")
    assert done.returncode == 5, done.stderr


def test_a_run_by_hand_leaves_the_schedule_as_it_was(runs: Path) -> None:
    before = asked(runs, "list")[0]
    pseudocron(runs, "run", "works")
    after = asked(runs, "list")[0]
    assert (before["due"], after["due"], after["runs"], after["missed"]) == (True, True, 1, 0)
    assert before["next"] == after["next"]
    assert pseudocron(runs, "tick").stdout.count("at work") == 1


def test_a_paused_and_disabled_cron_may_be_run_by_hand(runs: Path) -> None:
    pseudocron(runs, "pause", "off")
    assert pseudocron(runs, "run", "off").stdout == "at work\n"


def test_a_second_run_at_once_exits_with_4_and_leaves_no_trace(runs: Path) -> None:
    with start(runs, "run", "waits") as first:
        wait_until((runs / "begun").exists)
        second = pseudocron(runs, "run", "waits")
        (runs / "end").touch()
    assert (first.returncode, second.returncode) == (0, 4)
    assert second.stderr == "Error: 'waits': is running already, as often as its max_instances allows\n"
    assert [run.outcome for run in recorded(runs, "waits")] == ["succeeded"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_may_end_and_exits_as_shells_expect(how: signal.Signals, runs: Path) -> None:
    with start(runs, "run", "waits", PSEUDOCRON_DRAIN="20") as run:
        wait_until((runs / "begun").exists)
        run.send_signal(how)
        assert run.stderr is not None
        assert run.stderr.readline() == "told to stop\n"
        (runs / "end").touch()
    assert run.returncode == 128 + how
    assert [line.outcome for line in recorded(runs, "waits")] == ["succeeded"]


@pytest.mark.parametrize("function", ["until_told", "blocks_the_loop"])
def test_a_second_signal_ends_the_process_at_once(function: str, runs: Path) -> None:
    (runs / "crons.py").write_text(f'crons = {{"waits": ("stubborn:{function}", 3600)}}\nDRAIN = 100')
    with start(runs, "work") as work:
        wait_until((runs / "begun").exists)
        work.send_signal(signal.SIGTERM)
        if function == "until_told":
            assert work.stderr is not None
            assert any(line == "told to stop\n" for line in work.stderr)
        before = time.monotonic()
        while work.poll() is None:  # one that comes before the first is handled is no second one
            work.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                work.wait(0.1)
        assert time.monotonic() - before < 3
        _, said = work.communicate()
    assert work.returncode in {128 + signal.SIGINT, 128 + signal.SIGTERM}
    assert said.endswith("told to stop again: the process exits at once\n")


@pytest.mark.parametrize("function", ["swallows", "swallows_in_a_thread"])
@pytest.mark.parametrize("command", ["tick", "work"])
def test_code_that_ignores_its_cancellation_does_not_keep_the_process(command: str, function: str, runs: Path) -> None:
    entry = f'{{"run": "stubborn:{function}", "schedule": 3600, "timeout": 0.1 if "{command}" == "tick" else None}}'
    (runs / "crons.py").write_text(f'crons = {{"stubborn": {entry}}}\nDRAIN = 0.1')
    (runs / "prepared.py").write_text(SHORT)
    with start(runs, command) as process:
        wait_until((runs / "begun").exists)
        before = time.monotonic()
        if command == "work":
            process.terminate()
        _, said = process.communicate(timeout=30)
    assert time.monotonic() - before < 3
    assert process.returncode == (1 if command == "tick" else 0)
    assert "the process exits, although this code ignores its cancellation: " in said
    assert ("asyncio.to_thread" if function == "swallows_in_a_thread" else "stubborn.py:") in said
    assert [run.outcome for run in recorded(runs)] == ["timed_out" if command == "tick" else "interrupted"]


def test_switched_off_a_run_is_refused(runs: Path) -> None:
    done = pseudocron(runs, "run", "works", PSEUDOCRON_ENABLED="0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "PSEUDOCRON_ENABLED" in done.stderr


def test_work_that_is_stopped_records_its_run_and_exits_with_0(runs: Path) -> None:
    (runs / "crons.py").write_text('crons = {"waits": ("jobs:until_told", 3600)}')
    with start(runs, "work") as work:
        wait_until((runs / "begun").exists)
        work.send_signal(signal.SIGINT)
        (runs / "end").touch()
    assert work.returncode == 0
    assert [run.outcome for run in recorded(runs)] == ["succeeded"]


def test_a_script_has_its_drain_if_its_whole_service_is_told_to_stop(runs: Path) -> None:
    (runs / "crons.py").write_text('crons = {"script": ("script.py", 3600)}\nDRAIN = 20')
    (runs / "script.py").write_text(SAYS_WHO)
    with start(runs, "work") as work:
        wait_until((runs / "begun").exists)
        for pid in (work.pid, *map(int, (runs / "begun").read_text().split())):
            os.kill(pid, signal.SIGTERM)
        assert work.stderr is not None
        assert any(line == "told to stop\n" for line in work.stderr)
        (runs / "end").touch()
    assert work.returncode == 0
    assert [run.outcome for run in recorded(runs)] == ["succeeded"]


def test_work_that_is_stopped_cuts_off_what_outlasts_the_drain(runs: Path) -> None:
    (runs / "crons.py").write_text('crons = {"waits": ("jobs:until_told", 3600)}\nDRAIN = 0.1')
    with start(runs, "work") as work:
        wait_until((runs / "begun").exists)
        work.terminate()
    assert work.returncode == 0
    assert [run.outcome for run in recorded(runs)] == ["interrupted"]


def test_two_that_work_share_the_slots_and_each_runs_once(runs: Path) -> None:
    (runs / "jobs.py").write_text(NOTES)
    (runs / "crons.py").write_text(
        'crons = {f"cron{n}": ("jobs:note", 0.1 + n / 1000) for n in range(4)}\nCONCURRENCY = 2'
    )

    def notes() -> list[list[str]]:
        try:
            return [line.split() for line in (runs / "notes.txt").read_text().splitlines()]
        except FileNotFoundError:
            return []

    with start(runs, "work") as first, start(runs, "work") as second:
        wait_until(lambda: len(notes()) > 50 and {pid for pid, _ in notes()} == {str(first.pid), str(second.pid)}, 10)
        first.terminate()
        second.terminate()
    assert (first.returncode, second.returncode) == (0, 0)
    runs_of = Counter((run.name, run.slot) for run in recorded(runs) if not run.is_skip)
    assert set(runs_of.values()) == {1}
    assert len(notes()) == sum(cron["runs"] for cron in asked(runs, "list"))


def test_work_that_cannot_begin_is_one_line(runs: Path) -> None:
    (runs / ".pseudocron").write_text("no folder")
    done = pseudocron(runs, "work")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
