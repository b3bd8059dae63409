"""All calls go by one connection: nothing of it blocks an event loop, and none waits for what another one does."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hosts.cluster import sentinel
from redis.sentinel import Sentinel
from support import until, wait_until

from backends.redis.using import claim, defer, job, made, opened
from pseudocron.backends.model import Conflict, State
from pseudocron.backends.questions import Where
from pseudocron.backends.redis.pipeline import LATE, Pipeline
from pseudocron.errors import BackendError, JobConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis_server import Server

    from pseudocron.backends.redis.backend import Redis

LARGE = "x" * 6_000_000


@pytest.fixture
def stopped(server: Server) -> Iterator[Server]:
    assert server.process
    yield server
    server.process.send_signal(signal.SIGCONT)


@pytest.mark.alone
def test_a_server_that_reads_nothing_blocks_no_event_loop(stopped: Server, app: str) -> None:
    """What it does not take is kept, and sent when it reads again."""

    async def main() -> None:
        async with opened(stopped.url, app) as backend:
            await defer(backend)
            assert stopped.process
            stopped.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            many = [asyncio.create_task(defer(backend, job(arguments=LARGE))) for _ in range(3)]
            last = asyncio.create_task(defer(backend))
            slowest = 0.0
            while time.monotonic() < began + 0.5:
                at = time.monotonic()
                await asyncio.sleep(0.01)
                slowest = max(slowest, time.monotonic() - at)
            assert slowest < 0.3
            assert not any(one.done() for one in (*many, last))
            stopped.process.send_signal(signal.SIGCONT)
            stored = [run_id for ids in await asyncio.gather(*many, last) for run_id in ids]
            assert {run.run_id for run in await backend.runs(Where(), limit=10)} >= set(stored)

    asyncio.run(main())


def test_an_event_loop_that_is_blocked_keeps_no_other_thread_or_loop_waiting(server: Server, app: str) -> None:
    backend, free = made(server.url, app), threading.Event()
    took: list[float] = []

    async def block() -> None:
        await backend.open()
        asking = asyncio.ensure_future(defer(backend))
        await asyncio.sleep(0)  # it has asked, and is the one that reads
        assert free.wait(20)
        await asking

    async def ask() -> None:
        for _ in range(3):
            began = time.monotonic()
            await defer(backend)
            took.append(time.monotonic() - began)

    blocked = threading.Thread(target=asyncio.run, args=(block(),))
    blocked.start()
    wait_until(lambda: backend._connection.is_open and backend._is_checked)
    for use in (lambda: asyncio.run(ask()), lambda: took.append(blocking(backend))):
        other = threading.Thread(target=use)
        other.start()
        other.join(20)
    free.set()
    blocked.join()
    asyncio.run(backend.close())
    assert len(took) == 4
    assert max(took) < 1, "they have waited for the loop that is blocked"


def blocking(backend: Redis) -> float:
    began = time.monotonic()
    backend.defer_blocking([job()])
    return time.monotonic() - began


def test_event_loops_that_come_and_go_leave_no_descriptor(server: Server, app: str) -> None:
    backend = made(server.url, app)

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def use() -> None:
        await defer(backend)

    asyncio.run(backend.open())
    asyncio.run(use())
    before = descriptors()
    for _ in range(20):
        asyncio.run(use())
    assert descriptors() <= before + 1
    server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    asyncio.run(use())
    assert descriptors() <= before + 1
    asyncio.run(backend.close())
    assert descriptors() < before


def calls(server: Server) -> int:
    stats: dict[str, dict[str, Any]] = server.do("INFO", "commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("evalsha", "eval"))


def test_jobs_that_are_deferred_at_once_are_stored_by_few_calls(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            await defer(backend)
            before = await asyncio.to_thread(calls, server)
            jobs = [job(key=str(number % 150)) for number in range(200)]
            ids = [run_id for (run_id,) in await asyncio.gather(*(defer(backend, one) for one in jobs))]
            assert await asyncio.to_thread(calls, server) - before <= 6
            assert ids == [one.run_id for one in jobs]
            pending = {run.run_id for run in await backend.runs(Where(states=[State.PENDING]), limit=300)}
            assert pending - set(ids) != set()
            assert pending & set(ids) == set(ids[50:])  # the later ones with the same keys have replaced the others

    asyncio.run(main())


def test_a_job_that_is_refused_takes_none_with_it_that_is_deferred_at_once(server: Server, app: str) -> None:
    """Whether by its key, or as it can't be encoded."""
    odd = job(arguments="\ud800")

    async def main() -> None:
        async with opened(server.url, app) as backend:
            await defer(backend, job(key="taken"))
            taken = job(key="taken", on_conflict=Conflict.RAISE)
            jobs = [*(job() for _ in range(20)), odd, taken, *(job() for _ in range(20))]
            stored = await asyncio.gather(*(defer(backend, one) for one in jobs), return_exceptions=True)
            failed = [at for at, one in enumerate(stored) if isinstance(one, Exception)]
            assert failed == [20, 21]
            assert isinstance(stored[21], JobConflictError)
            assert isinstance(stored[20], BackendError)
            assert len(await backend.runs(Where(states=[State.PENDING]), limit=100)) == 41

    asyncio.run(main())


def test_defers_whose_callers_are_gone_are_made_and_those_behind_them(server: Server, app: str) -> None:
    jobs = [job() for _ in range(10)]

    async def main() -> None:
        async with opened(server.url, app) as backend:
            await defer(backend)
            await asyncio.to_thread(server.do, "CLIENT", "PAUSE", 100)
            asking = [asyncio.create_task(defer(backend, one)) for one in jobs]
            await asyncio.sleep(0)
            for one in asking[:-1]:
                one.cancel()
            assert await asking[-1] == [jobs[-1].run_id]
            assert {one.run_id for one in jobs} <= {run.run_id for run in await backend.runs(Where(), limit=20)}

    asyncio.run(main())


def test_a_plain_client_of_the_users_and_its_sentinels_are_used(tmp_path: Path, app: str) -> None:
    with sentinel(tmp_path) as (primary, _, watcher):

        def by_sentinel() -> Any:
            return Sentinel([("127.0.0.1", watcher.port)]).master_for("mymaster")  # type: ignore[no-untyped-call]

        def plain() -> Any:
            return redis.Redis(port=primary.port, decode_responses=True)

        async def main() -> None:
            async with opened(by_sentinel, app) as backend, opened(plain, app) as other:
                ids = await defer(backend)
                assert [run.run_id for run in await other.runs(Where())] == ids
                assert await claim(other)
                assert await backend.advice()

        asyncio.run(main())


def test_a_thread_that_sleeps_is_woken_for_a_connection_that_is_silent(server: Server, app: str) -> None:
    def connections() -> int:
        return int(server.do("INFO", "stats")["total_connections_received"])

    async def main() -> None:
        async with opened(f"{server.url}?socket_timeout=0.2", app) as backend:
            await defer(backend)
            pipeline = backend._connection._calls
            assert isinstance(pipeline, Pipeline)
            await until(lambda: pipeline._sleeps)
            before = await asyncio.to_thread(connections)
            await asyncio.to_thread(server.do, "CLIENT", "PAUSE", 500)
            await defer(backend)
            assert await asyncio.to_thread(connections) > before + 2, "the call was not repeated on another one"

    asyncio.run(main())


def test_each_caller_gets_its_own_answer_whatever_befalls_the_connection(server: Server, app: str) -> None:
    """From several event loops and threads, while connections are cut and scripts forgotten."""
    backend, ends = made(server.url, app), time.monotonic() + 1.0
    stored: list[str] = []

    async def use() -> None:
        while time.monotonic() < ends:
            one = job(arguments="x" * (200_000 if len(stored) % 50 == 0 else 5))
            assert await defer(backend, one) == [one.run_id]
            stored.append(one.run_id)
            found = await backend.run(one.run_id)
            assert found
            assert found.run_id == one.run_id

    async def use_by_many() -> None:
        await asyncio.gather(*(use() for _ in range(10)))

    def use_blocking() -> None:
        while time.monotonic() < ends:
            one = job()
            assert list(backend.defer_blocking([one])) == [one.run_id]
            stored.append(one.run_id)

    asyncio.run(backend.open())
    with ThreadPoolExecutor() as pool:
        uses = [pool.submit(lambda: asyncio.run(use_by_many())) for _ in range(3)] + [pool.submit(use_blocking)]
        while not all(one.done() for one in uses):
            server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            server.do("SCRIPT", "FLUSH")
            wait([uses[0]], 0.1)
        for one in uses:
            one.result()
    assert len(stored) == len(set(stored)) == asyncio.run(backend.counts(10**6))[State.PENDING] > 50
    asyncio.run(backend.close())


class Session:
    """What a request has."""


def test_what_the_first_caller_has_in_its_context_is_let_go(
    server: Server, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pseudocron.backends.redis.connection.ANSWER_WITHIN", 0.1)  # a timer has a context too
    session: ContextVar[Session] = ContextVar("session")

    backend = made(server.url, app)

    async def request() -> weakref.ref[Session]:
        session.set(one := Session())
        await defer(backend)
        return weakref.ref(one)

    async def main() -> None:
        its = await asyncio.create_task(request())
        await until(lambda: its() is None)
        assert await defer(backend)

    asyncio.run(backend.open())
    asyncio.run(main())
    asyncio.run(backend.close())


def test_a_caller_that_blocks_is_answered_at_once_though_the_loop_is_blocked(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            took: list[float] = []
            for _ in range(5):
                await defer(backend)  # so that the thread is awake, and leaves it to the loop to read
                other = threading.Thread(target=lambda: took.append(blocking(backend)))
                other.start()
                other.join()  # the loop is blocked
            assert min(took) < LATE / 3

    asyncio.run(main())
