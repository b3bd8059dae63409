"""A store that others hold, and a gate that can't be dated: how long is waited, and what becomes of the verb."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing, contextmanager
from itertools import count
from typing import TYPE_CHECKING

import portalocker
import pytest

from backends import using
from backends.waiting import Time
from pseudocron.backends.file import commits, connection, operation
from pseudocron.backends.file.backend import File
from pseudocron.backends.model import State
from pseudocron.backends.questions import Poll, Where
from pseudocron.errors import BackendError
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LATE = "gate: not brought forward, so that due runs may start late: "
FULL = "CREATE TRIGGER full BEFORE {} BEGIN SELECT RAISE(ABORT, 'disk full'); END"


@contextmanager
def opened(folder: Path, runner: asyncio.Runner, *, random: float = 0.0) -> Iterator[File]:
    backend = File(folder, host=Host(random=lambda: random))
    runner.run(backend.open())
    yield backend
    runner.run(backend.close())


def neighbour(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "crons.db", isolation_level=None, check_same_thread=False)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another process polls."""
    with (folder / "cron.lock").open("r+") as file:
        portalocker.lock(file, portalocker.LOCK_EX)
        yield
        portalocker.unlock(file)


def test_who_only_reads_does_not_wait_for_who_writes(folder: Path, backend: File, runner: asyncio.Runner) -> None:
    async def read() -> list[object]:
        (run,) = await using.runs_of(backend)
        assert await backend.run(run.run_id) == run
        state = (await backend.states(["mail"])).crons["mail"]
        listed = await backend.runs(Where()), await backend.waiting(), (await backend.counts())[State.PENDING]
        return [state.mark == run.slot, await backend.stale_in() > 0, *listed]

    claim = runner.run(using.claim(backend))
    with closing(neighbour(folder)) as db:
        db.execute("BEGIN IMMEDIATE")
        known, fresh, listed, waiting, pending = runner.run(read())
    assert (known, fresh, waiting, pending) == (True, True, {}, 0)
    assert [run.run_id for run in listed] == [claim.run_id]  # type: ignore[attr-defined]


def test_a_claim_waits_for_a_busy_store(folder: Path, backend: File, runner: asyncio.Runner) -> None:
    waits = count(1)

    def random() -> float:
        if next(waits) == 3:
            db.execute("COMMIT")
        return 0.0

    patient = File(folder, host=Host(random=random))
    runner.run(patient.open())
    with closing(neighbour(folder)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert runner.run(using.claim(patient)).fence == 1
    assert next(waits) == 4
    runner.run(patient.close())


@pytest.mark.parametrize(("random", "pause"), [(0.0, 0.001), (1.0, 0.010)])
def test_a_busy_store_is_tried_for_five_seconds_every_few_milliseconds(
    folder: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, random: float, pause: float
) -> None:
    def let_go() -> None:
        if len(waited.slept) == 7:
            db.rollback()

    with opened(folder, runner, random=random) as backend, closing(neighbour(folder)) as db:
        db.execute("BEGIN IMMEDIATE")
        waited = Time()
        for module in (commits, connection, operation):
            monkeypatch.setattr(module, "monotonic", waited.monotonic)
        monkeypatch.setattr(connection, "time", waited)
        with pytest.raises(BackendError, match=r"crons\.db' is busy: another process has held it for over 5 s"):
            runner.run(backend.pause("mail", paused=True))
        assert 5.0 <= sum(waited.slept) < 5.1
        assert {round(slept, 6) for slept in waited.slept} == {pause}
        waited.slept.clear()
        waited.meanwhile = let_go
        runner.run(backend.pause("mail", paused=True))
        assert len(waited.slept) == 7


def test_a_poll_that_fails_halfway_has_changed_nothing(folder: Path, backend: File, runner: asyncio.Runner) -> None:
    with closing(neighbour(folder)) as db:
        db.execute(FULL.format("INSERT ON runs"))
        with pytest.raises(BackendError, match=r"crons\.db' can't be used: disk full"):
            runner.run(using.claim(backend))
        assert runner.run(backend.states(["mail"])).crons["mail"].mark is None
        db.execute("DROP TRIGGER full")
    assert runner.run(using.claim(backend)).fence == 1


def test_what_is_committed_is_on_the_disk(backend: File, runner: asyncio.Runner) -> None:
    runner.run(using.defer(backend))
    db = backend._store._writer._db
    assert db is not None
    assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_closed_backend_says_so(backend: File, runner: asyncio.Runner) -> None:
    claim = runner.run(using.claim(backend))
    runner.run(backend.close())
    for verb in (using.claim(backend), using.defer(backend), backend.run("j"), using.finish(backend, claim)):
        with pytest.raises(BackendError, match="is closed: open the backend first"):
            runner.run(verb)
    with pytest.raises(BackendError, match="is closed: open the backend first"):
        backend.renew([claim], 30)
    with pytest.raises(BackendError, match="is closed: open the backend first"):
        backend.defer_blocking([using.job()])


def test_a_gate_that_can_not_be_dated_undoes_nothing(
    folder: Path, backend: File, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    runner.run(using.defer(backend))
    (claim,) = runner.run(using.claim_jobs(backend))
    (folder / "cron.lock").unlink()
    (folder / "cron.lock").mkdir()
    with pytest.raises(BackendError, match=r"can't use the lock file .*cron\.lock': not a file"):
        runner.run(backend.stale_in())
    assert runner.run(using.finish(backend, claim, State.FAILED, due=using.now())) is State.PENDING
    assert runner.run(backend.run(claim.run_id)).state is State.PENDING  # type: ignore[union-attr]
    assert runner.run(using.defer(backend))
    assert len(caplog.messages) == 2
    for line in caplog.messages:
        assert line.startswith(LATE)
        assert line.endswith("not a file; mend its path or mode")


def test_a_verb_waits_for_no_poll_to_bring_the_gate_forward(
    folder: Path, backend: File, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    runner.run(using.defer(backend))
    (claim,) = runner.run(using.claim_jobs(backend))
    assert runner.run(backend.stale_in()) > 20
    began = time.monotonic()
    with locked(folder):
        runner.run(using.finish(backend, claim, State.FAILED, due=using.now()))
    assert time.monotonic() - began < 0.5
    assert runner.run(backend.stale_in()) == 0
    assert not caplog.messages


def test_while_another_process_polls_none_polls_and_none_waits(
    folder: Path, backend: File, runner: asyncio.Runner
) -> None:
    with locked(folder):
        began = time.monotonic()
        assert runner.run(backend.poll(Poll(using.take(), force=True))) is None
        assert time.monotonic() - began < 0.5
    assert runner.run(backend.poll(Poll(using.take()))) is not None


def test_a_gate_is_brought_forward_only_when_the_change_is_stored(
    folder: Path, backend: File, runner: asyncio.Runner
) -> None:
    runner.run(backend.pause("mail", paused=True))
    planned = runner.run(using.plan(backend, using.now()))
    assert runner.run(using.poll(backend, planned)).fresh_for > 20
    runner.run(backend.reset("bill", using.now()))
    runner.run(using.poll(backend))
    with closing(neighbour(folder)) as db:
        db.execute(FULL.format("UPDATE ON crons"))
        with pytest.raises(BackendError, match="disk full"):
            runner.run(backend.reset("mail", using.now()))
        assert runner.run(backend.stale_in()) > 20
        db.execute("DROP TRIGGER full")
    runner.run(backend.pause("mail", paused=False))
    runner.run(backend.reset("mail", using.now()))
    assert runner.run(backend.stale_in()) == 0


def test_a_fresh_gate_can_be_read_where_the_store_can_not(folder: Path, backend: File, runner: asyncio.Runner) -> None:
    runner.run(using.poll(backend))
    with closing(neighbour(folder)) as db:
        db.execute("DROP TABLE living")
    assert 50 < runner.run(backend.stale_in()) <= 60
