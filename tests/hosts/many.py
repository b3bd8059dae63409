"""Several hosts on one machine: each a process group with a clock of its own, and visitors who defer jobs."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from support import wait_until

from harness import hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Note(NamedTuple):
    """What a run has written down: its slot in microseconds or its job's number, its fence, its host."""

    what: int
    fence: int
    host: int


@dataclass
class Host(hosts.Host):
    """A server in a process group of its own.

    Args:
        ahead: Seconds by which its clock is fast.
        every: Seconds between two slots of its cron.
    """

    ahead: float = 0
    every: float = 0.1

    @property
    def argv(self) -> tuple[object, ...]:
        return "uvicorn", "hosts.application:app", *self.serving

    @property
    def own(self) -> dict[str, object]:
        return {
            "HOST_AHEAD": self.ahead,
            "HOST_EVERY": self.every,
            "HOST_NOTES": self.folder,
            "HOST_ROLES": self.roles,
            "HOST_STORE": self.store,
        }

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
