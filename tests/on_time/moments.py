"""Stores by name, processes that share one, and how long something took."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from redis_server import shared
from support import Lifespan, hello, visit

from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.model import Run, Skip
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

STORES = ("memory", "file", "redis")
SHARED = ("file", "redis")
"""Those that several `Crons` of a process, and so several processes, can have together."""


@dataclass
class Where:
    """A store that is there for one test."""

    kind: str
    folder: Path
    app: str = field(default_factory=lambda: uuid4().hex)

    def crons(self, **settings: object) -> Crons:
        return Crons(backend=self._url(), app=self.app, **settings)  # type: ignore[arg-type]

    def _url(self) -> str:
        if self.kind == "redis":
            return shared().url
        return {"memory": "memory:", "file": f"file:{self.folder}/store"}[self.kind]


@dataclass
class Moments:
    """When something happened, in seconds since the beginning."""

    began: float = field(default_factory=time.monotonic)
    at: list[float] = field(default_factory=list)

    def note(self) -> None:
        self.at.append(time.monotonic() - self.began)

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.at, self.at[1:], strict=False)]


@asynccontextmanager
async def serving(crons: Crons, *, ticker: bool = False, every: float | None = None) -> AsyncIterator[None]:
    """An application with these crons; with `every` it has a visitor each so many seconds."""
    async with Lifespan(PseudoCronMiddleware(hello, crons=crons, ticker=ticker)) as lifespan:
        visitors = asyncio.ensure_future(_visits(lifespan, every))
        try:
            yield
        finally:
            visitors.cancel()


async def runs_of(crons: Crons, name: str) -> list[Run]:
    """The runs of a cron, newest first, without its skips."""
    return [line for line in await timeline(crons, name) if isinstance(line, Run)]


async def timeline(crons: Crons, name: str) -> Sequence[Run | Skip]:
    """The runs and skips of a cron, newest first."""
    async with process_of(crons).store() as (_, backend):
        return (await backend.timelines([name]))[name]


async def _visits(lifespan: Lifespan, every: float | None) -> None:
    while every is not None:
        await visit(lifespan.app)
        await asyncio.sleep(every)
