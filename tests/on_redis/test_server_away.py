"""A server that is away while an application runs: visitors notice nothing, and what was done is recorded later."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from backends.using import opened
from servers.serving import Server as Application
from support import wait_until

from pseudocron.backends.model import Reason, Run, Skip, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from redis_server import Server

CRONS = """{"often": ("jobs:in_a_thread", 0.2), "long": ("jobs:until_told", 3600)}
BACKEND = %r
APP = "pseudocron"
"""


def history(url: str, name: str) -> Sequence[Run | Skip]:
    async def read() -> Sequence[Run | Skip]:
        async with opened(url) as backend:
            return (await backend.timelines([name], 1000)).get(name, ())

    return asyncio.run(read())


def states(url: str, name: str) -> list[State]:
    return [line.state for line in history(url, name) if isinstance(line, Run)]


def slowest_visit(application: Application, visits: int) -> float:
    took = []
    for _ in range(visits):
        began = time.monotonic()
        assert application.visit()
        took.append(time.monotonic() - began)
    return sorted(took)[-2]  # the machine may pause once


@pytest.mark.alone
def test_without_a_server_visitors_are_served_and_results_come_later(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server("--save", "", "--appendonly", "yes", "--appendfsync", "always")
    with Application(tmp_path, CRONS % server.url).uvicorn() as application:
        wait_until(lambda: application.visit() and application.notes("long") and application.notes("often"))
        server.kill()
        wait_until(lambda: application.visit() and "poll failed: " in application.log)
        before = len(application.notes("often"))
        assert slowest_visit(application, 100) < 0.25
        (tmp_path / "end").touch()
        wait_until(lambda: "ends" in application.notes("long"))
        gone = time.monotonic() + 0.5
        wait_until(lambda: application.visit() and time.monotonic() > gone)
        assert len(application.notes("often")) <= before + 1, "a lock of its own was taken"
        assert application.log.count("poll failed: ") == 1
        server.start()
        wait_until(lambda: application.visit() and len(application.notes("often")) > before + 2)
        wait_until(lambda: states(server.url, "long") == [State.SUCCEEDED])
        application.stop()
    skips = [line for line in history(server.url, "often") if isinstance(line, Skip)]
    assert sum(skip.slots for skip in skips if skip.reason is Reason.BACKEND_DOWN) >= 2
    slots = application.notes("often")
    assert len(slots) == len(set(slots))
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".lock", ".db"}]
    assert "Traceback" not in application.log
