"""What each host of the suite serves: crons, and jobs that its visitors defer, by a clock of its own."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from redis.asyncio.cluster import ClusterNode, RedisCluster

from pseudocron import Crons, PseudoCronMiddleware, current_run
from pseudocron.host import Host, utcnow
from pseudocron.process import Process, _processes

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

AHEAD = timedelta(seconds=float(os.environ["HOST_AHEAD"]))
NOTES = os.environ["HOST_NOTES"]
STORE = os.environ["HOST_STORE"]


def make_client() -> RedisCluster:
    """As a user writes it, who has several nodes."""
    return RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", int(port)) for port in STORE.split(",")])


crons = Crons(backend=STORE if "//" in STORE else make_client, app="hosts", history=1000)


def note(name: str, *words: object) -> None:
    file = os.open(f"{NOTES}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{' '.join(map(str, words))}\n".encode())
    os.close(file)


@crons.every(float(os.environ["HOST_EVERY"]), coalesce=False, max_instances=100)
async def beat() -> None:
    run = current_run()
    note("slots", round(run.slot.timestamp() * 1_000_000), run.fence, os.getpgrp())


@crons.task
async def work(number: int) -> None:
    note("jobs", number, current_run().fence, os.getpgrp())


async def serve(scope: Scope, _receive: Receive, send: Send) -> None:
    """A visit of `/17` defers the job 17, and one of `/17/0.5` in half a second."""
    assert scope["type"] == "http"
    number, _, delay = scope["path"][1:].partition("/")
    if number:
        await work.options(key=f"job:{number}", delay=float(delay or 0)).defer(int(number))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


# The middleware takes the one watch that there is over its crons.
watch = _processes[id(crons)] = Process(crons, Host(now=lambda: utcnow() + AHEAD))
roles = os.environ["HOST_ROLES"].split()
app = PseudoCronMiddleware(serve, crons=crons, ticker="ticks" in roles, execute="executes" in roles)
