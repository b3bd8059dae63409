"""Requests, the ticker, `tick`, `work` and the trigger URL, all at once on real servers: a slot runs once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import pytest
from redis_server import shared
from servers.serving import Server, Visitors
from support import wait_until

from endpoints.calling import BEARER, TOKEN
from pseudocron.backends import connect
from pseudocron.backends.questions import NewJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP = f"""
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from pseudocron import PseudoCronMiddleware, health, trigger

async def hello(request):
    return PlainTextResponse("hello")

endpoint = trigger("crons.py", token="{TOKEN}")
app = Starlette(
    routes=[Route("/", hello), Route("/health", health("crons.py")), Route("/tick", endpoint)],
    middleware=[Middleware(PseudoCronMiddleware, crons="crons.py", ticker=True)],
)
"""

APP_NAME = f"at-once-{uuid4().hex}"

JOBS = """
import os
from pseudocron import current_run

def note():
    run = current_run()
    file = os.open(f"{run.name}.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{run.slot.isoformat()} {os.getpid()}\\n".encode())
    os.close(file)
"""


def ask(server: Server, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Callers:
    """Some who call the URL, let `pseudocron tick` run, and open the gate, again and again.

    Only claims stand between the others where the gate is always open.
    """

    def __init__(self, server: Server, store: str) -> None:
        self.server = server
        self.backend = connect(store, app=APP_NAME, folder=server.folder)
        self.by_url: Counter[tuple[str, str]] = Counter()
        self.ticks: list[int] = []
        self._gone = threading.Event()
        again = [threading.Thread(target=self._again, args=[what]) for what in (self._call, self._tick)]
        self._threads = [*again, threading.Thread(target=lambda: asyncio.run(self._open_the_gate()))]

    def _again(self, what: Callable[[], None]) -> None:
        while not self._gone.is_set():
            what()

    async def _open_the_gate(self) -> None:
        backend = self.backend
        await backend.open()
        while not self._gone.is_set():
            await backend.defer([NewJob(uuid4().hex, "nowhere", "{}", datetime.now(UTC), key="k")])
            await asyncio.sleep(0.01)
        await backend.close()

    def _call(self) -> None:
        status, body = ask(self.server, "POST", "/tick", BEARER)
        assert status in {200, 202}, body
        self.by_url.update((run["name"], run["slot"]) for run in json.loads(body)["ran"])

    def _tick(self) -> None:
        with command(self.server, "tick") as process:
            self.ticks.append(process.pid)
            process.wait(30)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def command(server: Server, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])}
    argv = [sys.executable, "-m", "pseudocron", *words]
    with subprocess.Popen(argv, cwd=server.folder, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


def serving(tmp_path: Path, store: str, *more: str) -> Server:
    entries = ", ".join(f'"cron{number}": ("jobs:note", 0.01)' for number in range(3))
    server = Server(tmp_path, f"{{{entries}}}\nBACKEND = {store!r}\nAPP = {APP_NAME!r}\n")
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "jobs.py").write_text(JOBS)
    return server.uvicorn(*more)


@pytest.mark.parametrize("store", ["file", "redis"])
def test_with_all_five_at_once_each_slot_runs_once(tmp_path: Path, store: str) -> None:
    url = shared().url if store == "redis" else "file:.pseudocron"

    def notes() -> list[tuple[str, str, int]]:
        lines = [(f"cron{n}", *line.split()) for n in range(3) for line in server.notes(f"cron{n}")]
        return [(name, slot, int(pid)) for name, slot, pid in lines]

    def took_part() -> bool:
        pids = {pid for *_, pid in notes()}
        served = server.process.pid in pids
        return bool(served and work.pid in pids and not pids.isdisjoint(callers.ticks) and callers.by_url)

    server = serving(tmp_path, url)
    with (
        command(server, "work") as work,
        server,
        Visitors(server, 1) as visitors,
        Callers(server, url) as callers,
    ):
        wait_until(took_part, 30)
    slots = Counter((name, slot) for name, slot, _ in notes())
    assert slots.most_common(1)[0][1] == 1
    assert visitors.served
    assert callers.by_url.keys() <= slots.keys()


def test_on_a_real_server_no_token_reaches_the_access_log(tmp_path: Path) -> None:
    with serving(tmp_path, "memory:", "--log-level", "debug") as server:
        assert ask(server, "POST", f"/tick?wait=0&token={TOKEN}", {})[0] == 202
        assert ask(server, "POST", f"/tick?token={TOKEN}x", {})[0] == 404
        assert ask(server, "GET", f"/tick?token={TOKEN}", {})[0] == 200
        assert ask(server, "POST", "/tick", {"authorization": f"Bearer x{TOKEN}"})[0] == 404
        assert ask(server, "GET", "/health", {})[0] == 200
        server.stop()
    assert '"POST /tick?wait=0&token=*** HTTP/1.1" 202' in server.log
    assert TOKEN not in server.log
