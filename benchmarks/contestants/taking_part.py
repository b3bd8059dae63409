"""What each contestant's program shares with the others: how a run is noted, the word to begin, the answer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

NOTES = Path("ran.txt")
DIGITS = 7
READY = "ready"
LOOK_AGAIN, PATIENCE = 0.002, 120.0
"""Seconds between two looks at how many runs are noted, and until nobody waits for the rest any more."""
AT_LEAST_ONCE = "at least once"
"""What a queue promises that keeps a job until it has run: it is run again if its worker dies."""
SYNCHRONOUS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}


THREADS = 8
CONCURRENT = 64
"""Defers at once, as many as a server has requests under way."""


async def at_once(defer: Callable[[int], Awaitable[object]], number: int) -> None:
    """Defer so many jobs, some at a time."""
    numbers = iter(range(number))

    async def one_by_one() -> None:
        for one in numbers:
            await defer(one)

    await asyncio.gather(*(one_by_one() for _ in range(CONCURRENT)))


class Taken:
    """How long something takes, and how much CPU of this process, from when this is made."""

    def __init__(self) -> None:
        self._cpu, self._began = time.process_time(), time.monotonic()

    def told(self) -> Mapping[str, float]:
        """Seconds, of CPU too, and when it ended by the clock of all processes."""
        ended = time.monotonic()
        return {"seconds": ended - self._began, "cpu": time.process_time() - self._cpu, "ended": ended}


def by_threads(defer: Callable[[int], object], number: int, threads: int) -> Mapping[str, float]:
    """Defer so many jobs, each thread its part of them; what that has taken."""
    parts = [range(first, number, threads) for first in range(threads)]
    taken = Taken()
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(lambda part: [defer(one) for one in part], part) for part in parts]:
            done.result()
        return taken.told()


def note(number: int) -> None:
    """Write down that the job of this number runs: one system call, some microseconds, and the same for all."""
    os.write(_notes(os.getpid()), f"{number:0{DIGITS}}\n".encode())


@cache
def _notes(_process: int) -> int:
    return os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def noted() -> int:
    """How many runs are noted so far, of this process and of others."""
    return os.fstat(_notes(os.getpid())).st_size // (DIGITS + 1)


def wait_for(number: int) -> None:
    """Wait until so many runs are noted."""
    end = time.monotonic() + PATIENCE
    while noted() < number:
        assert time.monotonic() < end, f"{noted()} of {number} have run after {PATIENCE} s"
        time.sleep(LOOK_AGAIN)


async def ran(number: int) -> None:
    """Wait for the runs where an event loop runs them."""
    async with asyncio.timeout(PATIENCE):
        while noted() < number:  # noqa: ASYNC110 - a file that other processes write to has no event
            await asyncio.sleep(LOOK_AGAIN)


def ready() -> None:
    """Say that all is imported and made, and wait for the word to begin."""
    print(READY, flush=True)
    sys.stdin.readline()


def serve(verbs: Mapping[str, Callable[[int], Mapping[str, object]]]) -> None:
    """Do what the command line says, a verb and a number of jobs, and print the answer."""
    _, verb, number = sys.argv
    print(json.dumps(verbs[verb](int(number))), flush=True)
