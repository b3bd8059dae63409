"""An application whose work APScheduler 3 runs, by its scheduler for asyncio and with its default store, in memory.

As https://apscheduler.readthedocs.io/en/3.x/userguide.html shows; and a store that several processes share is what
https://apscheduler.readthedocs.io/en/3.x/faq.html advises against: it wants one scheduler, in a process of its own.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from fastapi import FastAPI

from benchmarks.applications.noting import BORN, note, work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Schedule while the application serves; by `cron`, as slots are then whole seconds in every process."""
    scheduler = AsyncIOScheduler()
    scheduler.add_job(work, "cron", second="*")
    scheduler.start()
    yield
    scheduler.shutdown()


app = FastAPI(lifespan=lifespan)


@app.get("/")
def hello() -> str:
    """Answer a request."""
    return "hello"


note(BORN)
