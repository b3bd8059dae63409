"""Defers and drains jobs with pseudocron, in the store that the environment names, else in the working folder."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contestants.taking_part import (
    AT_LEAST_ONCE,
    SYNCHRONOUS,
    THREADS,
    Taken,
    at_once,
    by_threads,
    note,
    ran,
    ready,
    serve,
)
from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.file.backend import File
from pseudocron.backends.file.operation import Operation
from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Where

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.types import Message, Receive, Scope, Send

crons = Crons(folder=Path.cwd())


@crons.task
async def job(number: int) -> None:
    """Do the deferred work."""
    note(number)


@crons.task
def plain(number: int) -> None:
    """Do the deferred work in a thread of its own."""
    note(number)


async def _open() -> Mapping[str, object]:
    """Open the store, which the first `defer` would else do; what it promises."""
    assert await crons.job("none") is None
    backend = crons._connect()
    return {"store": _durability(backend) if isinstance(backend, File) else AT_LEAST_ONCE}


def _durability(backend: File) -> str:
    store = backend._store  # noqa: SLF001 - a pragma is told by the connection that it is of
    pragmas = ("journal_mode", "synchronous")
    told = Operation(lambda txn: [txn.db.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas])
    journal, synchronous = store.write(told)
    return f"{journal}, {SYNCHRONOUS[synchronous]}"


async def _stored(state: State, number: int) -> None:
    where = Where(states={state}, kinds={Kind.JOB})
    assert len(await crons._connect().runs(where, limit=number + 1)) == number


async def _defer(number: int) -> Mapping[str, object]:
    about, taken = await _open(), Taken()
    for one in range(number):
        await job.defer(one)
    told = taken.told()
    await _stored(State.PENDING, number)
    return {**told, **about}


async def _defer_concurrently(number: int) -> Mapping[str, object]:
    """As many at once as a server has requests under way."""
    about, taken = await _open(), Taken()
    await at_once(job.defer, number)
    told = taken.told()
    await _stored(State.PENDING, number)
    return {**told, **about}


def _defer_sync(number: int, threads: int = 1) -> Mapping[str, object]:
    about = asyncio.run(_open())
    told = by_threads(job.defer_sync, number, threads)
    asyncio.run(_stored(State.PENDING, number))
    return {**told, **about}


async def _defer_many(number: int) -> Mapping[str, object]:
    about, taken = await _open(), Taken()
    await job.defer_many({"number": one} for one in range(number))
    told = taken.told()
    await _stored(State.PENDING, number)
    return {**told, **about}


async def _fill_plain(number: int) -> Mapping[str, object]:
    await plain.defer_many({"number": one} for one in range(number))
    await crons._connect().close()
    return {}


async def _silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise NotImplementedError("an application that has no lifespan")


@asynccontextmanager
async def _serving() -> AsyncIterator[None]:
    """Keep open what a web server has open from its start to its end: the middleware, with its ticker on."""
    heard: asyncio.Queue[Message] = asyncio.Queue()
    said: asyncio.Queue[Message] = asyncio.Queue()
    middleware = PseudoCronMiddleware(_silent, crons=crons, ticker=True)
    heard.put_nowait({"type": "lifespan.startup"})
    lifespan = asyncio.ensure_future(middleware({"type": "lifespan"}, heard.get, said.put))
    message = await said.get()
    assert message["type"] == "lifespan.startup.complete", message
    yield
    heard.put_nowait({"type": "lifespan.shutdown"})
    await lifespan


async def _serve(number: int) -> Mapping[str, object]:
    """Serve until so many runs are noted, by whatever processes; the most memory that this one has used until then."""
    async with _serving():
        await ran(number)
        return {"megabytes": _most_resident()}


def _most_resident() -> float:
    """MB. What `getrusage` tells is not less than what the parent had."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1e3


async def _drain(number: int) -> Mapping[str, object]:
    """Serve until all have run, and what ran here is recorded."""
    ready()
    taken = Taken()
    await _serve(number)
    return {**taken.told(), **await _open()}


async def _succeeded(number: int) -> Mapping[str, object]:
    """Assert that the store knows of so many that have succeeded."""
    await _open()
    await _stored(State.SUCCEEDED, number)
    return {}


if __name__ == "__main__":
    serve(
        {
            "defer": lambda number: asyncio.run(_defer(number)),
            "defer_concurrently": lambda number: asyncio.run(_defer_concurrently(number)),
            "defer_sync": _defer_sync,
            "defer_sync_by_eight": lambda number: _defer_sync(number, THREADS),
            "defer_many": lambda number: asyncio.run(_defer_many(number)),
            "fill_plain": lambda number: asyncio.run(_fill_plain(number)),
            "serve": lambda number: asyncio.run(_serve(number)),
            "drain": lambda number: asyncio.run(_drain(number)),
            "succeeded": lambda number: asyncio.run(_succeeded(number)),
        }
    )
