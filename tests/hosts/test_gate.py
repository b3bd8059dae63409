"""What other hosts do is heard of within a second, and what an idle process asks is next to nothing."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest
from support import wait_until

from hosts.many import Host, notes, serving, visitors

if TYPE_CHECKING:
    from pathlib import Path

    from redis_server import Server

logger = logging.getLogger(__name__)

WINDOW = 2.0
HOUR = 3600


def questions(server: Server) -> int:
    """How many commands but those of the test itself the server has been asked."""
    told = server.do("INFO", "commandstats")
    stats = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in told.items()}
    return sum(stats.get(name, 0) for name in ("evalsha", "eval"))


def asked_within(seconds: float, server: Server) -> int:
    """How many there are in some seconds."""
    before, began = questions(server), time.monotonic()
    wait_until(lambda: time.monotonic() - began > seconds)
    return questions(server) - before


def settled(server: Server) -> None:
    """Wait until the first look is over, which asks more than those that follow."""
    wait_until(
        lambda: any(server.do("HGET", run, "state") == "succeeded" for run in server.do("KEYS", "{hosts}:run:*"))
    )
    wait_until(lambda: not asked_within(0.3, server))


@pytest.mark.alone
@pytest.mark.parametrize("delay", ["0", "0.5"])
def test_a_job_that_another_host_defers_starts_within_about_a_second(
    tmp_path: Path, server: Server, delay: str
) -> None:
    idle, busy = (Host(tmp_path, server.url, every=HOUR, workers=1, roles=roles) for roles in ("executes ticks", ""))
    with serving([idle, busy]):
        settled(server)
        began = time.monotonic()
        assert busy.visit(f"/1/{delay}")
        wait_until(lambda: notes(tmp_path, "jobs"))
        assert float(delay) <= time.monotonic() - began < float(delay) + 1.5


@pytest.mark.alone
def test_a_busy_process_asks_once_a_second_and_an_unvisited_one_never(tmp_path: Path, server: Server) -> None:
    ticking, visited = (
        Host(tmp_path, server.url, every=HOUR, workers=1, roles=roles) for roles in ("executes ticks", "executes")
    )
    asked = {}
    with serving([ticking]):
        settled(server)
        asked["ticking"] = asked_within(WINDOW, server)
    with serving([visited]):
        with visitors([visited], jobs=0):
            settled(server)
            asked["visited"] = asked_within(WINDOW, server)
        asked["unvisited"] = asked_within(WINDOW, server)
    logger.info("questions in %g s: %s", WINDOW, asked)
    assert 1 <= asked["ticking"] <= WINDOW + 1
    assert 1 <= asked["visited"] <= WINDOW + 1
    assert asked["unvisited"] <= 1, "behind the last of its visitors"
