"""Visitors who defer and cancel jobs, and write down what they were told."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verification.chaos.history import Notes

PATIENCE = 10.0
"""Seconds after which a visitor gives up."""

KINDS = ("quick",) * 14 + ("flaky",) * 2 + ("slow", "blocking", "newest", "newest", "later", "later")
KEYS = 40


class Visitors:
    """Come so often, wherever they are served.

    Args:
        ports: Of the servers.
        rate: Visits a second.
        notes: Where is written down what they were told.
        seed: Of what they want.
    """

    def __init__(self, ports: Sequence[int], *, rate: float, notes: Notes, seed: int) -> None:
        self._ports = ports
        self._rate = rate
        self._notes = notes
        self._random = Random(seed)
        self._under_way: set[asyncio.Task[None]] = set()

    async def come(self, until: float) -> None:
        """At an even pace, however long the others take, until a moment by the true time."""
        began, number = time.time(), 0
        while time.time() < until:
            number += 1
            if len(self._under_way) < 100:
                visit = asyncio.create_task(self._visit())
                self._under_way.add(visit)
                visit.add_done_callback(self._under_way.discard)
            await asyncio.sleep(max(0, began + number / self._rate - time.time()))
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def served(self) -> bool:
        """Whether one who only comes by is."""
        return await self._ask("/", nothing=True) is True

    async def _visit(self) -> None:
        kind, random = self._random.choice(KINDS), self._random
        if kind == "newest":
            await self._newest(f"key-{random.randrange(KEYS)}", cancels=random.random() < 0.3)
        elif kind == "later":
            job = await self._defer("quick", delay=0.3 + random.random())
            if job:
                await asyncio.sleep(random.random())
                await self._cancel(f"/cancel/{job}", job=job)
        else:
            await self._defer(kind)

    async def _newest(self, key: str, *, cancels: bool) -> None:
        if await self._defer("newest", delay=0.2, key=key) and cancels:
            await self._cancel(f"/cancel/newest/{key}", task="newest", key=key)

    async def _defer(self, task: str, *, delay: float = 0, key: str | None = None) -> str | None:
        asked = time.time()
        job: str | None = await self._ask(f"/defer/{task}/{delay}{f'/{key}' if key else ''}")
        if job is None:
            self._notes.add("unanswered", task=task, key=key, asked=asked)
        else:
            self._notes.add("defer", job=job, task=task, key=key, delay=delay, asked=asked)
        return job

    async def _cancel(self, path: str, **whom: str) -> None:
        asked, answer = time.time(), await self._ask(path)
        if answer is not None:
            self._notes.add("cancel", asked=asked, pending=answer, **whom)

    async def _ask(self, path: str, *, nothing: object = None) -> Any:
        """Return the answer, or `nothing` instead of nothing; None if the answer is an error."""
        port = self._random.choice(self._ports)
        with suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE):
                return await _get(port, path, nothing)
        return None


async def _get(port: int, path: str, nothing: object) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: chaos\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.splitlines()[0]:
            return None
        answer = json.loads(await reader.read())
        return nothing if answer is None else answer
    finally:
        writer.close()
