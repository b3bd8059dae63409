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

from on_redis.using import claim, defer, opened
from pseudocron.backends import connect
from pseudocron.crons import Crons
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from pseudocron.backends.base import Backend

CRONS = """
import asyncio, gc, os, sys, time
from pseudocron import Crons

crons = Crons(backend={url!r}, app={app!r})

@crons.task
def send(): pass

def defer():
    for _ in range(3):
        send.defer_sync()
    return time.monotonic()
"""
FORKS = """
began = defer()
pids = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        gc.collect()
        defer()
        sys.exit()
    pids.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
began = time.monotonic()
assert defer() - began < 1, "the connection is deaf"
"""
NEVER_CLOSED = """
async def main():
    await send.defer()

asyncio.run(main())
asyncio.run(main())
defer()
gc.collect()
"""
GIVEN_UP = "defer()\ndel crons, send, defer\ngc.collect()\n"


def run(app: str, code: str) -> int:
    """How many jobs are there after a program that must say nothing."""
    program = CRONS.format(url=shared().url, app=app) + code
    words = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    async def count() -> int:
        async with opened(shared().url, app) as backend:
            return len(await backend.jobs(limit=100))

    return asyncio.run(count())


def test_a_store_that_was_open_before_a_fork_goes_on_in_the_parent_and_in_each_child(app: str) -> None:
    assert run(app, FORKS) == 3 + 3 * 3 + 3


@pytest.mark.parametrize(("code", "jobs"), [(NEVER_CLOSED, 5), (GIVEN_UP, 3)])
def test_a_process_that_closes_nothing_ends_without_a_warning(app: str, code: str, jobs: int) -> None:
    assert run(app, code) == jobs


def test_many_event_loops_and_threads_share_a_few_connections(server: Server, app: str) -> None:
    crons = Crons(backend=server.url, app=app)
    job = crons.task("send")(print)
    threads = [threading.Thread(target=job.defer_sync) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def main() -> int:
        await asyncio.gather(*(job.defer() for _ in range(20)))
        found = len(await crons._connect().jobs(limit=100))
        clients = str(await asyncio.to_thread(server.do, "CLIENT", "LIST")).count("cmd=evalsha")
        assert 0 < clients <= 40
        await crons._connect().close()
        return found

    assert asyncio.run(main()) == 40


async def use(backend: Backend) -> None:
    await backend.open()
    await defer(backend)
    await backend.close()


def test_what_was_closed_may_be_opened_again_and_says_so_meanwhile(app: str) -> None:
    backend = connect(shared().url, app=app, folder=Path())

    async def main() -> None:
        await backend.open()
        granted = await claim(backend)
        await backend.close()
        with pytest.raises(BackendError, match="is closed: open the backend first"):
            await backend.fresh_for(60)
        with pytest.raises(BackendError, match="is closed: open the backend first"):
            await asyncio.to_thread(backend.renew, [granted], 30)

    asyncio.run(use(backend))
    asyncio.run(use(backend))
    asyncio.run(main())


def test_who_asks_while_another_closes_is_answered_or_told(app: str) -> None:
    async def ask(backend: Backend) -> str:
        try:
            await backend.fresh_for(60)
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
