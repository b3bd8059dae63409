"""A process reads the time of its server from each answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis_server import shared

from backends.redis.using import defer, opened, take
from pseudocron.backends.questions import Poll
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable

    from pseudocron.backends.redis.backend import Redis

VERBS: dict[str, Callable[[Redis], Any]] = {
    "stale_in": lambda backend: backend.stale_in(),
    "states": lambda backend: backend.states([]),
    "poll": lambda backend: backend.poll(Poll(take())),
    "defer": defer,
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_step_of_the_servers_clock_is_known_from_the_next_answer(app: str, verb: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            assert abs(backend.ahead) < timedelta(seconds=1)
            assert backend._time is not None
            time, at = backend._time
            backend._time = time + 3_600_000_000, at  # what it was before the server's clock was set back
            assert backend.ahead > timedelta(minutes=59)
            await VERBS[verb](backend)
            assert abs(backend.ahead) < timedelta(seconds=1)

    asyncio.run(main())


def test_a_step_of_the_hosts_clock_counts_at_once(app: str) -> None:
    step = timedelta()

    async def main() -> None:
        nonlocal step
        async with opened(shared().url, app, host=Host(now=lambda: datetime.now(UTC) + step)) as backend:
            step = timedelta(hours=1)
            assert abs(backend.ahead + step) < timedelta(seconds=1)

    asyncio.run(main())
