"""How long a folder is waited for, and what becomes of a gate that can't be brought forward."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import portalocker
import pytest

from backends.waiting import Time
from pseudocron.backends.file import File, store
from pseudocron.backends.jobs import JobEnd, JobState, NewJob
from pseudocron.errors import BackendError
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pseudocron.backends.jobs import JobClaim

SECOND = timedelta(seconds=1)
LATE = "gate: not brought forward, so that due runs may start late: "


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@contextmanager
def opened(folder: Path, runner: asyncio.Runner, *, random: float = 0.0) -> Iterator[File]:
    backend = File(folder, host=Host(random=lambda: random))
    runner.run(backend.open())
    yield backend
    runner.run(backend.close())


def claimed(backend: File, runner: asyncio.Runner) -> JobClaim:
    new = NewJob(job_id="j1", task="mail", arguments="[]", due=datetime.now(UTC))
    runner.run(backend.defer([new], max_age=60))
    (claim,) = runner.run(backend.claim_jobs({"mail": None}, limit=1, worker="me", lease=300))
    return claim


def neighbour(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "crons.db", check_same_thread=False)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    with (folder / "cron.lock").open("r+") as file:
        portalocker.lock(file, portalocker.LOCK_EX)
        yield
        portalocker.unlock(file)


@pytest.mark.parametrize(("random", "pause"), [(0.0, 0.001), (1.0, 0.010)])
def test_a_busy_store_is_tried_for_five_seconds_every_few_milliseconds(
    tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, random: float, pause: float
) -> None:
    def let_go() -> None:
        if len(waited.slept) == 7:
            db.rollback()

    with opened(tmp_path, runner, random=random) as backend, closing(neighbour(tmp_path)) as db:
        db.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(store, "time", waited := Time())
        with pytest.raises(BackendError, match="is busy: another process has held it for over 5 s"):
            runner.run(backend.pause("mail"))
        assert 5.0 <= sum(waited.slept) < 5.1
        assert {round(slept, 6) for slept in waited.slept} == {pause}
        waited.slept.clear()
        waited.meanwhile = let_go
        runner.run(backend.pause("mail"))
        assert len(waited.slept) == 7


def test_a_result_stays_recorded_when_the_gate_can_not_be_brought_forward(
    tmp_path: Path, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path, runner) as backend:
        claim = claimed(backend, runner)
        assert runner.run(backend.enter(60))
        began = time.monotonic()
        with locked(tmp_path):
            states = runner.run(backend.finish_jobs([(claim, JobEnd(state=JobState.PENDING))]))
        assert 1.0 <= time.monotonic() - began < 2.0
        assert states == [JobState.PENDING]
        (line,) = caplog.messages
        assert line.startswith(LATE)
        assert line.endswith("locked by another process for over 1 s; mend its path or mode")


def test_a_verb_that_finds_the_gate_stale_waits_for_no_lock(
    tmp_path: Path, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path, runner) as backend:
        claim = claimed(backend, runner)
        assert runner.run(backend.enter(60))
        runner.run(backend.pause("mail"))
        began = time.monotonic()
        with locked(tmp_path):
            runner.run(backend.finish_jobs([(claim, JobEnd(state=JobState.PENDING))]))
        assert time.monotonic() - began < 0.5
        assert runner.run(backend.fresh_for(60)) == 0
        assert not caplog.messages


def test_a_gate_is_brought_forward_only_when_the_change_is_stored(tmp_path: Path, runner: asyncio.Runner) -> None:
    with opened(tmp_path, runner) as backend, closing(sqlite3.connect(tmp_path / "crons.db")) as db:
        assert runner.run(backend.enter(60))
        db.execute("CREATE TRIGGER full BEFORE UPDATE ON crons BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        with pytest.raises(BackendError, match="disk full"):
            runner.run(backend.pause("mail"))
        assert runner.run(backend.fresh_for(60)) > 50
        db.execute("DROP TRIGGER full")
        runner.run(backend.pause("mail"))
        assert runner.run(backend.fresh_for(60)) == 0


def test_a_fresh_gate_can_be_read_where_the_store_can_not(tmp_path: Path, runner: asyncio.Runner) -> None:
    with opened(tmp_path, runner) as backend:
        assert runner.run(backend.enter(60))
        with closing(sqlite3.connect(tmp_path / "crons.db")) as db:
            db.execute("DROP TABLE running")
        assert 50 < runner.run(backend.fresh_for(60)) <= 60
