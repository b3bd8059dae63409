"""The application that is soaked: pages, a hundred crons a second, and a page that defers a job of some kind."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from itertools import count
from logging.handlers import RotatingFileHandler
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from pseudocron import Crons, PseudoCronMiddleware, Retry, cron_status, current_run

if TYPE_CHECKING:
    from starlette.requests import Request

ASYNC, SYNC = 90, 10
"""How many one-second crons run on the event loop, and how many in threads."""

crons = Crons()
late: list[float] = []
"""Seconds from each slot to its run, since somebody asked last."""
ended = dict.fromkeys(("crons", "jobs"), 0)
least: dict[str, float] = {}
"""The fewest tasks and threads at any moment since somebody asked last: what comes and goes is not in it, a leak is."""

# Opened when there is something to log: the script among the crons imports this too.
logging.basicConfig(handlers=[RotatingFileHandler("log", maxBytes=1_000_000, backupCount=1, delay=True)])


async def on_the_loop() -> None:
    """Wait a little, as for a database."""
    _note()
    await asyncio.sleep(0.005)


def in_a_thread() -> None:
    """Do the work of a plain function, in a thread of its own."""
    _note()


def _note() -> None:
    late.append(time.time() - current_run().slot.timestamp())
    ended["crons"] += 1


for number in range(ASYNC):
    crons.add(f"async-{number:02}", on_the_loop, 1)
for number in range(SYNC):
    crons.add(f"sync-{number:02}", in_a_thread, 1)
crons.add("forget-jobs", Path(__file__).with_name("forget_jobs.py"), 20)


@crons.task
async def work(text: str) -> None:
    """Do a job on the event loop."""
    ended["jobs"] += len(text) > 0


@crons.task
def work_in_a_thread(text: str) -> None:
    """Do a job in a thread."""
    ended["jobs"] += len(text) > 0


@crons.task
async def work_at_the_second_try(text: str) -> None:
    """Do a job that is retried."""
    if current_run().attempt == 1:
        raise Retry(after=1)
    ended["jobs"] += len(text) > 0


TEXT = "x" * 200
_numbers = count()


async def defer(_: Request) -> PlainTextResponse:
    """Defer a job: five of ten plain, two that replace one another, one cancelled, one retried, one in a thread."""
    match next(_numbers) % 10:
        case 0 | 1:
            await work.options(delay=1, key="the newest counts").defer(TEXT)
        case 2:
            job = await work.options(delay=5).defer(TEXT)
            await job.cancel()
        case 3:
            await work_at_the_second_try.defer(TEXT)
        case 4:
            await work_in_a_thread.defer(TEXT)
        case _:
            await work.defer(TEXT)
    _count()
    return PlainTextResponse("deferred")


def _count() -> None:
    now = {"tasks": len(asyncio.all_tasks()), "threads": threading.active_count()}
    least.update({what: min(number, least.get(what, inf)) for what, number in now.items()})


async def page(_: Request) -> PlainTextResponse:
    """Serve the page that most requests are for."""
    return PlainTextResponse("hello")


async def vitals(_: Request) -> JSONResponse:
    """Report what only the process itself can know."""
    _count()
    fewest, waited = dict(least), sorted(late) or [0.0]
    least.clear()
    late.clear()
    status = await cron_status(crons)
    return JSONResponse(
        {
            **fewest,
            "objects": len(gc.get_objects()),
            "late p50": waited[len(waited) // 2],
            "late p99": waited[len(waited) * 99 // 100],
            "ran": dict(ended),
            "missed": sum(cron.missed for cron in status),
            "failed": sum(cron.failures for cron in status),
            "jobs": await crons._connect().counts(at_most=1_000_000),
        }
    )


routes = [Route("/", page), Route("/defer", defer), Route("/vitals", vitals)]
app = PseudoCronMiddleware(Starlette(routes=routes), crons=crons)
