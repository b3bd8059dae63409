"""Real servers in processes of their own, and visitors over real sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self

from support import wait_until

from harness.ports import free_port
from harness.process_tree import children, command_line

APP = """
from pseudocron import PseudoCronMiddleware

async def hello(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}})
    await send({{"type": "http.response.body", "body": b"hello"}})

app = PseudoCronMiddleware(hello, crons="crons.py"{options})
"""

JOBS = """
import asyncio, os, time
from pathlib import Path
from pseudocron import current_run

def note(line):
    file = os.open(f"{current_run().name}.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\\n".encode())
    os.close(file)

async def on_the_loop():
    await asyncio.to_thread(note, current_run().slot.isoformat())

def in_a_thread():
    note(current_run().slot.isoformat())

async def until_told():
    await asyncio.to_thread(note, "begins")
    while not await asyncio.to_thread(Path("end").exists):
        await asyncio.sleep(0.01)
    await asyncio.to_thread(note, "ends")
"""

SCRIPT = """
import os
name, slot = os.environ["PSEUDOCRON_NAME"], os.environ["PSEUDOCRON_SLOT"]
file = os.open(f"{name}.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(file, f"{slot}\\n".encode())
"""


@dataclass
class Server:
    """A folder with an application, its jobs and its crons, and a server that serves it."""

    folder: Path
    crons: str
    options: str = ""
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        (self.folder / "app.py").write_text(APP.format(options=self.options))
        (self.folder / "jobs.py").write_text(JOBS)
        (self.folder / "script.py").write_text(SCRIPT)
        (self.folder / "crons.py").write_text(f"crons = {self.crons}")

    def uvicorn(self, *more: str) -> Server:
        return self.start("uvicorn", "app:app", "--port", str(self.port), "--log-level", "warning", *more)

    def start(self, module: str, *argv: str) -> Server:
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *argv],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __enter__(self) -> Self:
        wait_until(self.visit, 30)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(30)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def visit(self) -> bool:
        """One visitor with a connection of its own; whether it was served."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def notes(self, name: str) -> list[str]:
        """What the runs of a cron have written down."""
        path = self.folder / f"{name}.txt"
        return path.read_text().splitlines() if path.exists() else []

    def workers(self) -> list[int]:
        """The processes that serve, where the server's first one only watches them."""
        return [child for child in children(self.process.pid) if "spawn_main" in command_line(child)]


class Visitors:
    """Some visitors that come again and again, each time with a new connection, until the block ends."""

    def __init__(self, server: Server, count: int = 4) -> None:
        self.refused = 0
        self.served = 0
        self._server = server
        self._gone = threading.Event()
        self._threads = [threading.Thread(target=self._come) for _ in range(count)]

    def _come(self) -> None:
        while not self._gone.is_set():
            if self._server.visit():
                self.served += 1
            else:
                self.refused += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.set()
        for thread in self._threads:
            thread.join()
