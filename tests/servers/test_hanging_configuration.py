"""An import that hangs keeps neither the last good configuration from running nor the process from ending."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from cli.shell import start
from support import wait_until

from servers.serving import JOBS

if TYPE_CHECKING:
    from pathlib import Path

GOOD = 'crons = {"often": ("jobs:in_a_thread", 0.2)}'
HANGS = """
import time
from pathlib import Path
Path("hangs").touch()
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "crons.py").write_text(GOOD)
    return tmp_path


def runs(folder: Path) -> int:
    return len((folder / "often.txt").read_text().splitlines()) if (folder / "often.txt").exists() else 0


def test_a_worker_runs_on_while_an_edit_hangs_and_ends_when_it_is_told(folder: Path) -> None:
    worker = start(folder, "work")
    try:
        wait_until(lambda: runs(folder), 20)
        (folder / "draft.py").write_text(HANGS)
        (folder / "draft.py").replace(folder / "crons.py")
        wait_until((folder / "hangs").exists, 5)
        before = runs(folder)
        wait_until(lambda: runs(folder) > before + 3, 4)  # one poll waits a second for the edit
    finally:
        began = time.monotonic()
        worker.terminate()
        worker.communicate(timeout=20)
    assert worker.returncode == 0
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("command", ["tick", "check"])
def test_a_command_whose_first_read_hangs_ends_when_it_is_told(folder: Path, command: str) -> None:
    (folder / "crons.py").write_text(HANGS)
    process = start(folder, command)
    try:
        wait_until((folder / "hangs").exists, 20)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)
        assert time.monotonic() - began < 3
        assert process.returncode != 0
    finally:
        process.kill()
