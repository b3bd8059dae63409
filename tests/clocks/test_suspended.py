"""A process that is stopped for longer than its lease and then goes on, with or without a successor."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from backends.using import opened
from servers.serving import Server
from support import environ_with, wait_until

from pseudocron.backends.model import Run, Skip, State

if TYPE_CHECKING:
    from pathlib import Path


def history(folder: Path) -> list[Run | Skip]:
    """What the store knows, oldest first."""

    async def read() -> list[Run | Skip]:
        async with opened("file:.pseudocron", folder=folder) as backend:
            return list(reversed((await backend.timelines(["job"], 1000)).get("job", ())))

    return asyncio.run(read())


def run_of(folder: Path) -> Run:
    (run,) = [line for line in history(folder) if isinstance(line, Run)]
    return run


def suspend(server: Server) -> None:
    """Stop a server where it holds nothing that others wait for: nobody gets on while it holds the store."""

    def suspended() -> bool:
        server.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, server.process.pid, os.WSTOPPED | os.WNOWAIT)
        db = sqlite3.connect(server.folder / ".pseudocron" / "crons.db", timeout=0, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            server.process.send_signal(signal.SIGCONT)
            return False
        finally:
            db.close()
        return True

    wait_until(suspended, 5)


def lease_is_over(folder: Path) -> bool:
    db = sqlite3.connect(folder / ".pseudocron" / "crons.db")
    try:
        (ends,) = db.execute("SELECT max(lease) FROM living").fetchone()
    finally:
        db.close()
    return bool(ends / 1_000_000 < time.time())


def tick(folder: Path) -> Run:
    """What the crontab does, another process that looks; what the store then knows."""
    subprocess.run(
        [sys.executable, "-m", "pseudocron", "tick"],
        cwd=folder,
        env=environ_with("."),
        check=True,
        capture_output=True,
        timeout=60,
    )
    return run_of(folder)


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSEUDOCRON_LEASE", "1")


CRONS = '{{"job": {{"run": "jobs:until_told", "schedule": "0 0 1 1 *", "last_run": 1, "at_least_once": {}}}}}'


@pytest.mark.usefixtures("short_lease")
def test_another_process_takes_a_slot_over_and_the_late_result_is_refused(
    tmp_path: Path,
) -> None:
    with Server(tmp_path, CRONS.format(True)).uvicorn() as server:
        wait_until(lambda: server.notes("job") == ["begins"], 5)
        suspend(server)
        (tmp_path / "end").touch()
        wait_until(lambda: tick(tmp_path).state is State.SUCCEEDED, 10)
        assert server.notes("job") == ["begins", "begins", "ends"], "the successor has run, and beside it nobody"
        taken_over = history(tmp_path)
        server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: len(server.notes("job")) == 4, 5)
        # Its code may end before the next renewal, which would have noticed.
        wait_until(lambda: "lease not renewed in time" in server.log or "its result came after" in server.log, 5)
        assert server.visit()
    missed, run = history(tmp_path)
    assert isinstance(missed, Skip)
    assert isinstance(run, Run)
    assert (run.state, run.attempts, run.lost, run.fence) == (State.SUCCEEDED, 2, 1, 2)
    assert [attempt.outcome for attempt in run.earlier] == [State.LOST]
    assert run.earlier[0].worker != run.worker
    assert history(tmp_path) == taken_over, "the late one has changed nothing"


@pytest.mark.usefixtures("short_lease")
def test_without_at_least_once_the_slot_is_lost_and_does_not_run_again(tmp_path: Path) -> None:
    with Server(tmp_path, CRONS.format(False)).uvicorn() as server:
        wait_until(lambda: server.notes("job") == ["begins"], 5)
        suspend(server)
        wait_until(lambda: tick(tmp_path).state is not State.RUNNING, 10)
        server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "lease not renewed in time" in server.log, 5)
        (tmp_path / "end").touch()
    assert run_of(tmp_path).state is State.LOST
    assert server.notes("job") == ["begins", "ends"]


@pytest.mark.usefixtures("short_lease")
def test_an_unnoticed_stop_costs_a_run_only_the_trust_in_its_lease(tmp_path: Path) -> None:
    with Server(tmp_path, CRONS.format(True)).uvicorn() as server:
        wait_until(lambda: server.notes("job") == ["begins"], 5)
        suspend(server)
        wait_until(lambda: lease_is_over(tmp_path), 5)
        server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "lease not renewed in time: the run is notified to stop" in server.log, 5)
        (tmp_path / "end").touch()
        wait_until(lambda: run_of(tmp_path).state is not State.RUNNING, 5)
    assert run_of(tmp_path).state is State.SUCCEEDED
    assert "is lost" not in server.log
