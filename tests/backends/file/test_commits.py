"""What is asked for at the same time is committed together, and each caller gets its own answer."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.file.helpers import TAKE, commits_of, job, on_a_loop
from pseudocron.backends.file import commits, operation
from pseudocron.backends.file.backend import File
from pseudocron.backends.file.operation import Operation
from pseudocron.backends.model import Conflict, State
from pseudocron.backends.questions import End, Poll, Where
from pseudocron.errors import BackendError, JobConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[File]:
    backend = File(tmp_path / "store")
    asyncio.run(backend.open())
    yield backend
    asyncio.run(backend.close())


@on_a_loop
async def test_jobs_deferred_at_once_share_a_few_commits(backend: File) -> None:
    jobs = [job() for _ in range(64)]
    with commits_of(backend) as sizes:
        answers = await asyncio.gather(*(backend.defer([one]) for one in jobs))
    assert answers == [[one.run_id] for one in jobs]
    assert len(sizes) <= 5
    assert len(await backend.runs(Where(), 100)) == 64


def test_jobs_deferred_by_threads_share_commits(backend: File) -> None:
    begin = threading.Barrier(16)

    def defer() -> None:
        begin.wait()
        for _ in range(4):
            backend.defer_blocking([job()])

    threads = [threading.Thread(target=defer) for _ in range(16)]
    with commits_of(backend) as sizes:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(sizes) < 64
    assert asyncio.run(backend.counts())[State.PENDING] == 64


@on_a_loop
async def test_a_batch_of_ends_and_its_refill_are_one_commit(backend: File) -> None:
    await backend.defer([job() for _ in range(20)])
    claims = (await backend.finish([], TAKE)).claims
    with commits_of(backend) as sizes:
        finished = await backend.finish([End(claim, State.SUCCEEDED) for claim in claims], TAKE)
    assert (len(sizes), len(finished.claims), finished.states) == (1, 10, [State.SUCCEEDED] * 10)


@on_a_loop
async def test_a_poll_is_one_commit_and_none_if_nothing_changes(backend: File) -> None:
    await backend.defer([job()])
    with commits_of(backend) as sizes:
        await backend.poll(Poll(TAKE))
        assert len(sizes) == 1
        await backend.poll(Poll(TAKE, force=True))
        assert len(sizes) == 1


@on_a_loop
async def test_a_conflict_fails_its_own_caller_alone(backend: File) -> None:
    await backend.defer([job(key="k")])
    taken = [job(), job(key="k", on_conflict=Conflict.RAISE)]
    free = job(key="l", on_conflict=Conflict.RAISE)
    with commits_of(backend) as sizes:
        one, other, third = await asyncio.gather(
            backend.defer([job()]), backend.defer(taken), backend.defer([free]), return_exceptions=True
        )
    assert isinstance(other, JobConflictError)
    assert not isinstance(one, BaseException)
    assert third == [free.run_id]
    assert await backend.run(taken[0].run_id) is None
    assert len(sizes) <= 2


@on_a_loop
async def test_a_failed_group_is_repeated_singly(backend: File) -> None:
    def fail(_: object) -> None:
        raise sqlite3.OperationalError("no such thing")

    good, bad = job(), Operation(fail)
    with backend._store._turn:
        tasks = [asyncio.create_task(backend.defer([good])), asyncio.create_task(backend._store.commit(bad))]
        await asyncio.sleep(0.02)
    one, other = await asyncio.gather(*tasks, return_exceptions=True)
    assert one == [good.run_id]
    assert isinstance(other, BackendError)
    assert "crons.db' can't be used: no such thing" in str(other)


@on_a_loop
async def test_the_ends_are_kept_if_nothing_can_be_claimed(backend: File) -> None:
    await backend.defer([job(), job()])
    (claim,) = (await backend.finish([], TAKE._replace(capacity=TAKE.capacity._replace(jobs=1)))).claims
    db = sqlite3.connect(backend._store._path)
    db.execute("UPDATE runs SET attempts = 'many' WHERE run_id <> ?", (claim.run_id,))
    db.commit()
    db.close()
    finished = await backend.finish([End(claim, State.SUCCEEDED)], TAKE)
    assert (finished.states, finished.claims, finished.left) == ([State.SUCCEEDED], [], True)
    assert (await backend.counts())[State.SUCCEEDED] == 1


@on_a_loop
async def test_a_caller_that_is_cancelled_leaves_the_others_alone(backend: File) -> None:
    jobs = [job() for _ in range(3)]
    with backend._store._turn:
        tasks = [asyncio.create_task(backend.defer([one])) for one in jobs]
        await asyncio.sleep(0.02)
        tasks[1].cancel()
        await asyncio.sleep(0)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[0] == [jobs[0].run_id]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert answers[2] == [jobs[2].run_id]


def test_an_event_loop_that_is_closed_does_no_harm(backend: File) -> None:
    loop = asyncio.new_event_loop()
    with backend._store._turn:
        task = loop.create_task(backend.defer([job()]))
        loop.call_later(0.02, loop.stop)
        loop.run_forever()
        loop.close()
    assert asyncio.run(backend.defer([job()]))
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to be left


def test_many_event_loops_are_served_by_one_thread(backend: File) -> None:
    loops = [threading.Thread(target=lambda: asyncio.run(backend.defer([job()]))) for _ in range(8)]
    before = {thread for thread in threading.enumerate() if thread.name == "pseudocron-store"}
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    after = {thread for thread in threading.enumerate() if thread.name == "pseudocron-store"}
    assert len(after - before) == 1


def test_a_writer_thread_ends_when_idle_and_another_one_comes(backend: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "IDLE", 0.01)
    asyncio.run(backend.defer([job()]))
    if (first := backend._store._thread) is not None:
        first.join(5)
    assert backend._store._thread is None
    assert asyncio.run(backend.defer([job()]))


@on_a_loop
async def test_a_group_has_a_thousand_jobs_at_most(backend: File) -> None:
    with commits_of(backend) as sizes:
        await asyncio.gather(*(backend.defer([job() for _ in range(600)]) for _ in range(3)))
    assert len(sizes) == 3


def test_a_child_of_a_fork_has_its_own_connection_and_thread(backend: File) -> None:
    asyncio.run(backend.defer([job()]))
    child = os.fork()
    if not child:
        status = 1
        try:
            backend.defer_blocking([job("child")])
            asyncio.run(backend.defer([job("child")]))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    asyncio.run(backend.defer([job()]))
    runs = asyncio.run(backend.runs(Where()))
    assert sorted(run.name for run in runs) == ["child", "child", "mail", "mail"]


def test_a_busy_store_is_waited_for(backend: File, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "store" / "crons.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, lambda: other.execute("ROLLBACK"))
    release.start()
    begun = time.monotonic()
    assert backend.defer_blocking([job()])
    assert time.monotonic() - begun > 0.1
    release.join()
    other.close()


def test_a_store_that_stays_busy_is_named(backend: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "PATIENCE", 0.1)
    other = sqlite3.connect(tmp_path / "store" / "crons.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BackendError, match="is busy: another process has held it"):
        backend.defer_blocking([job()])
    with pytest.raises(BackendError, match="is busy"):
        asyncio.run(backend.defer([job()]))
    other.execute("ROLLBACK")
    other.close()
    assert asyncio.run(backend.counts())[State.PENDING] == 0
    assert backend.defer_blocking([job()])
