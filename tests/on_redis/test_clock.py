"""A process learns the time of its server at each look, also without a cron to ask about."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from redis_server import shared

from on_redis.using import opened
from pseudocron.backends.redis import Redis


def test_a_process_without_crons_hears_of_a_server_whose_clock_is_stepped(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            assert isinstance(backend, Redis)
            assert backend._told
            time, at = backend._told
            backend._told = time + timedelta(hours=1), at  # what it was before the server's clock was set back
            assert backend.ahead > timedelta(minutes=59)
            await backend.reap()
            await backend.states({})
            assert abs(backend.ahead) < timedelta(seconds=1)

    asyncio.run(main())
