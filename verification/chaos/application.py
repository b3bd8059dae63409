"""What each process under the nemesis serves or works on: crons in a file that is edited, and tasks in code."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import struct
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pseudocron import Crons, PseudoCronMiddleware, Retry, current_run
from pseudocron.backends import connect
from pseudocron.host import Host, utcnow
from pseudocron.jobs import manager
from pseudocron.process import Process, _processes
from verification.chaos.history import Notes
from verification.chaos.store_recorder import micros, recorded

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

FOLDER = Path(os.environ["CHAOS_FOLDER"])
NOTES = Notes(FOLDER / "notes")
BEATS, JOBS = "crons.py", "verification.chaos.application:crons"

vars(manager)["connect"] = lambda *args, **options: recorded(connect(*args, **options), NOTES)

with (FOLDER / os.environ["CHAOS_CLOCK"]).open("rb") as _file:
    _clock = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)


def ahead() -> timedelta:
    """By how much this host's clock is fast, as its launcher says now."""
    return timedelta(seconds=struct.unpack("d", _clock[:8])[0])


crons = Crons(app="jobs")


def note(what: str) -> None:
    run = current_run()
    told = {"name": run.name} if run.is_job else {"cron": run.name, "slot": micros(run.slot)}
    NOTES.add(what, run=run.run_id, fence=run.fence, attempt=run.attempt, **told)


async def beat() -> None:
    note("start")
    note("end")


async def shaky() -> None:
    """Fail at the first attempt, and succeed when retried."""
    note("start")
    if current_run().attempt == 1:
        raise OSError("at the first attempt")
    note("end")


async def last(seconds: float) -> None:
    note("start")
    await asyncio.sleep(seconds)
    note("end")


@crons.task
async def quick() -> None:
    note("start")
    note("end")


@crons.task(retries=2)
def flaky() -> None:
    note("start")
    if current_run().attempt == 1:
        raise Retry(after=0.2)
    note("end")


@crons.task(max_instances=6)
async def slow() -> None:
    """For longer than a lease: one that was stopped goes on beside its successor."""
    note("start")
    await asyncio.sleep(1.2 * crons.settings.lease)
    note("end")


@crons.task(max_instances=2, retries=1)
def blocking() -> None:
    note("start")
    time.sleep(0.3)
    note("end")


@crons.task
async def newest() -> None:
    note("start")
    await asyncio.sleep(0.2)
    note("end")


async def answer(path: str) -> object:
    """`/defer/TASK`, `/defer/TASK/DELAY`, `/defer/TASK/DELAY/KEY`, `/cancel/JOB`, `/cancel/TASK/KEY`."""
    verb, _, rest = path[1:].partition("/")
    first, *more = rest.split("/")
    if verb == "defer":
        delay, key = float(more[0]) if more else None, more[1] if len(more) > 1 else None
        return (await crons._task_named(first).options(delay=delay, key=key).defer()).id
    if verb == "cancel":
        return await (crons._task_named(first).cancel(key=more[0]) if more else crons.cancel(first))
    return None


async def serve(scope: Scope, _receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    body = json.dumps(await answer(scope["path"])).encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


host = Host(now=lambda: utcnow() + ahead())
# The middleware and the commands find these by the name of the configuration.
processes = [_processes.setdefault(name, Process(name, host)) for name in (BEATS, JOBS)]
ticker = bool(os.environ.get("CHAOS_TICKER"))
app = PseudoCronMiddleware(PseudoCronMiddleware(serve, crons=JOBS, ticker=ticker), crons=BEATS, ticker=ticker)
