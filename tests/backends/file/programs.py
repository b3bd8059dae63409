"""Processes that use a store in a folder until they are done, or killed; each prints what it was granted.

python programs.py claim FOLDER          claims one slot after the other, and prints the id of each run
python programs.py defer FOLDER          defers one job after the other, and prints the id of each
python programs.py drain FOLDER LIMIT    claims and finishes jobs until there are none, and prints the id of each
python programs.py hold FOLDER KIND      holds a `slot` or a `job` for an hour, until its input ends
python programs.py fork FOLDER           forks with an open store, closes that, lets the child go on, and kills it
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import environ_with

from backends import using
from backends.using import SECOND
from pseudocron.backends.file import commits, connection
from pseudocron.backends.file.backend import File
from pseudocron.backends.model import State
from pseudocron.backends.questions import End, Poll
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pseudocron.backends.questions import Claim

TESTS = Path(__file__).parents[2]


def command(*words: object) -> list[str]:
    return [sys.executable, "-W", "error", __file__, *map(str, words)]


@contextmanager
def program(*words: object) -> Iterator[subprocess.Popen[str]]:
    """One of these processes; it is killed in the end, if it lives."""
    env = environ_with(TESTS)
    with subprocess.Popen(
        command(*words), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def holding(folder: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a run for an hour."""
    with program("hold", folder, kind) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "holds\n"
        yield holder


def say(word: object) -> None:
    print(word, flush=True)  # noqa: T201  its output


async def opened(folder: Path, **options: Any) -> File:
    backend = File(folder, **options)
    await backend.open()
    return backend


async def claim(folder: Path) -> None:
    backend = await opened(folder, keep=1_000_000)
    many, start = {"mail": 1_000_000}, using.now() - 100_000 * SECOND
    for n in count():
        say((await using.claim(backend, start + n * SECOND, crons=many)).run_id)


async def defer(folder: Path) -> None:
    backend = await opened(folder)
    while True:
        say((await using.defer(backend))[0])


async def drain(folder: Path, limit: int) -> None:
    """A process in which a run that ends is followed by the next in the same transaction."""
    for module in (commits, connection):
        module.PATIENCE = 30.0  # type: ignore[attr-defined]  # who gets what matters, not how long a busy disk may take
    backend = await opened(folder)
    taking = using.take(limit, worker=str(os.getpid()))
    claims: list[Claim] = []
    while claims or await using.jobs(backend, State.PENDING, limit=1):
        if not claims:
            polled = await backend.poll(Poll(taking))
            claims = list(polled.claims) if polled else []
        finished = await backend.finish([End(one, State.SUCCEEDED) for one in claims], taking)
        assert set(finished.states) <= {State.SUCCEEDED}
        for one in claims:
            say(one.run_id)
        claims = list(finished.claims)
    await backend.close()


async def hold(folder: Path, kind: str) -> None:
    backend = await opened(folder)
    if kind == "job":
        await using.defer(backend)
        assert (await using.poll(backend, lease=3600)).claims
    else:
        await using.claim(backend, lease=3600)
    say("holds")


async def inline(fn: Callable[..., Any], /, *args: object) -> Any:
    """No thread: Python warns of forking a process that has some."""
    return fn(*args)


def fork(folder: Path) -> None:
    backend = asyncio.run(opened(folder, host=Host(hop=inline)))

    def store(run_id: str) -> None:
        say(*backend.defer_blocking([using.job(run_id=run_id)]))

    store("before")
    heard, told = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        store("while both have it open")
        os.write(told[1], b"stored")
        os.read(heard[0], 1)
        store("after the parent has closed it")
        os.write(told[1], b"stored")
        signal.pause()
    os.read(told[0], 6)
    asyncio.run(backend.close())
    os.write(heard[1], b"closed")
    os.read(told[0], 6)
    os.kill(child, signal.SIGKILL)
    os.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["claim", folder]:
            asyncio.run(claim(Path(folder)))
        case ["defer", folder]:
            asyncio.run(defer(Path(folder)))
        case ["drain", folder, limit]:
            asyncio.run(drain(Path(folder), int(limit)))
        case ["hold", folder, kind]:
            asyncio.run(hold(Path(folder), kind))
            sys.stdin.read()
        case ["fork", folder]:
            fork(Path(folder))
