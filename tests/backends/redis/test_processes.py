"""One store in forked processes, in many event loops and threads, opened again, and never closed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis_server import Server, shared

from backends.redis.using import claim, defer, job, made, opened
from pseudocron.backends.questions import Where
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from pseudocron.backends.redis.backend import Redis

PROGRAM = """
import asyncio, gc, os, sys, time
from datetime import UTC, datetime
from uuid import uuid4
from pseudocron.backends.questions import NewJob
from pseudocron.backends.redis.backend import Redis
from pseudocron.backends.redis.client import from_url

store = Redis(from_url({url!r}), name="Redis", app={app!r})
asyncio.run(store.open())

def defer():
    for _ in range(3):
        store.defer_blocking([NewJob(uuid4().hex, "send", "[]", datetime.now(UTC))])
"""
FORKS = """
defer()
pids = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        gc.collect()
        asyncio.run(store.open())
        defer()
        sys.exit()
    pids.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
began = time.monotonic()
defer()
assert time.monotonic() - began < 1, "the connection is deaf"
"""
NEVER_CLOSED = """
async def main():
    await store.defer([NewJob(uuid4().hex, "send", "[]", datetime.now(UTC))])

asyncio.run(main())
asyncio.run(main())
defer()
gc.collect()
"""
GIVEN_UP = "defer()\ndel store, defer\ngc.collect()\n"


def run(app: str, code: str) -> int:
    """How many jobs are there after a program that must say nothing."""
    program = PROGRAM.format(url=shared().url, app=app) + code
    words = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(words, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    async def count() -> int:
        async with opened(shared().url, app) as backend:
            return len(await backend.runs(Where(), 100))

    return asyncio.run(count())


def test_a_store_opened_before_a_fork_works_on_both_sides(app: str) -> None:
    assert run(app, FORKS) == 3 + 3 * 3 + 3


@pytest.mark.parametrize(("code", "jobs"), [(NEVER_CLOSED, 5), (GIVEN_UP, 3)])
def test_a_process_that_closes_nothing_ends_without_a_warning(app: str, code: str, jobs: int) -> None:
    assert run(app, code) == jobs


def test_many_event_loops_and_threads_share_one_connection(server: Server, app: str) -> None:
    backend = made(server.url, app)

    def use_a_loop() -> None:
        asyncio.run(defer(backend))

    async def main() -> int:
        await asyncio.gather(*(defer(backend) for _ in range(20)))
        found = len(await backend.runs(Where(), 100))
        clients = str(await asyncio.to_thread(server.do, "CLIENT", "LIST")).count("cmd=eval")
        assert clients == 1
        await backend.close()
        return found

    asyncio.run(backend.open())
    threads = [threading.Thread(target=backend.defer_blocking, args=([job()],)) for _ in range(10)]
    threads += [threading.Thread(target=use_a_loop) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(main()) == 40


async def use(backend: Redis) -> None:
    await backend.open()
    await defer(backend)
    await backend.close()


def test_what_was_closed_may_be_opened_again_and_says_so_meanwhile(app: str) -> None:
    backend = made(shared().url, app)

    async def main() -> None:
        await backend.open()
        granted = await claim(backend)
        await backend.close()
        with pytest.raises(BackendError, match="is closed: open the backend first"):
            await backend.stale_in()
        with pytest.raises(BackendError, match="is closed: open the backend first"):
            await asyncio.to_thread(backend.renew, [granted], 30)

    asyncio.run(use(backend))
    asyncio.run(use(backend))
    asyncio.run(main())


def test_a_call_while_another_closes_is_answered_or_refused(app: str) -> None:
    async def ask(backend: Redis) -> str:
        try:
            await backend.stale_in()
        except BackendError as error:
            return str(error)
        return "answered"

    async def main() -> None:
        for _ in range(10):
            async with opened(shared().url, app) as backend:
                asked = [asyncio.create_task(ask(backend)) for _ in range(20)]
                await asyncio.sleep(0)
            told = set(await asyncio.gather(*asked))
            assert told <= {"answered", f"Redis at {shared().url} is closed: open the backend first"}

    asyncio.run(main())
