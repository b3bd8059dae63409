"""Several hosts on one machine: each a process group with a clock of its own, and visitors who defer jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from redis_server import free_port
from support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]


class Note(NamedTuple):
    """What a run has written down: its slot in microseconds or its job's number, its fence, its host."""

    what: int
    fence: int
    host: int


@dataclass
class Host:
    """A server in a process group of its own.

    Args:
        folder: Where the runs of all hosts write.
        store: The URL of a server, or the nodes of a cluster.
        ahead: Seconds by which its clock is fast.
        every: Seconds between two slots of its cron.
        workers: How many processes serve.
        roles: What its middleware does.
        cwd: Where it is started; where we are if None.
    """

    folder: Path
    store: str
    ahead: float = 0
    every: float = 0.1
    workers: int = 2
    roles: str = "executes ticks"
    port: int = field(default_factory=free_port)
    cwd: Path | None = None

    @property
    def argv(self) -> tuple[object, ...]:
        """What is started, as a module of Python's."""
        return "uvicorn", "hosts.application:app", *self.serving

    @property
    def serving(self) -> tuple[object, ...]:
        return "--port", self.port, "--workers", self.workers, "--no-access-log"

    @property
    def own(self) -> dict[str, object]:
        """What it finds in its environment besides ours."""
        return {
            "HOST_AHEAD": self.ahead,
            "HOST_EVERY": self.every,
            "HOST_NOTES": self.folder,
            "HOST_ROLES": self.roles,
            "HOST_STORE": self.store,
        }

    def start(self) -> Self:
        own = {name: str(value) for name, value in self.own.items()}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *map(str, self.argv)],
                env={**os.environ, **own, "PYTHONPATH": path()},
                cwd=self.cwd,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    @property
    def _log(self) -> Path:
        return self.folder / f"log-{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def visit(self, path: str = "/") -> bool:
        """One visitor with a connection of its own; whether it was served."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def path() -> str:
    return os.pathsep.join([str(TESTS), *filter(None, sys.path)])


@contextmanager
def serving(hosts: list[Host]) -> Iterator[list[Host]]:
    """Start them, all at once; stop them."""
    for host in hosts:
        host.start()
    try:
        for host in hosts:
            wait_until(host.visit, 30)
        yield hosts
    finally:
        for host in hosts:
            host.stop()
        for host in hosts:
            host.process.wait(30)


def notes(folder: Path, name: str) -> list[Note]:
    """What the runs of all hosts have written down, in the order in which they did."""
    path = folder / name
    lines = path.read_text().splitlines() if path.exists() else []
    return [Note(*map(int, line.split())) for line in lines]


@contextmanager
def visitors(hosts: list[Host], *, jobs: int, each: int = 3) -> Iterator[None]:
    """Some visitors of each host, who defer the jobs 1, 2, … and then only come by, until the block ends."""
    gone, numbers = threading.Event(), count(1)
    refused: list[str] = []

    def come(host: Host) -> None:
        while not gone.is_set():
            number = next(numbers)
            path = f"/{number}" if number <= jobs else "/"
            if not host.visit(path):
                refused.append(path)

    threads = [threading.Thread(target=come, args=(host,)) for host in hosts for _ in range(each)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        gone.set()
        for thread in threads:
            thread.join()
    assert not refused
