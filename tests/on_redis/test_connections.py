"""What may befall a connection, or the server at its other end: the call goes on, or says in one line why not."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_server import Server
from support import wait_until

from on_redis.proxy import Proxy
from on_redis.using import claim, defer, now, opened
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable


def replica_of(primary: Server, start_server: Callable[..., Server]) -> Server:
    replica = start_server(
        "--save", "", "--replicaof", "127.0.0.1", str(primary.port), "--repl-diskless-sync-delay", "0"
    )
    wait_until(lambda: replica.do("INFO", "replication").get("master_link_status") == "up")
    return replica


def test_scripts_that_the_server_has_forgotten_are_told_it_again(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            first = await claim(backend)
            await asyncio.to_thread(server.do, "SCRIPT", "FLUSH")
            assert (await claim(backend, now())).fence > first.fence
            await asyncio.to_thread(server.do, "SCRIPT", "FLUSH")
            assert await defer(backend)

    asyncio.run(main())


def test_a_connection_that_is_cut_is_made_anew(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            await claim(backend)
            assert await asyncio.to_thread(server.do, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert await backend.enter(60)

    asyncio.run(main())


def test_a_server_that_is_silent_for_a_while_is_waited_for(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            await asyncio.to_thread(server.do, "CLIENT", "PAUSE", 300)
            began = time.monotonic()
            await claim(backend)
            assert time.monotonic() - began > 0.1
            assert len(await backend.history("mail")) == 1

    asyncio.run(main())


def test_a_server_that_stays_silent_is_given_up_with_a_line_and_used_when_it_is_back(
    server: Server, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pseudocron.backends.redis.wire.PATIENCE", 0.5)

    async def main() -> None:
        async with opened(server.url, app) as backend:
            await asyncio.to_thread(server.do, "CLIENT", "PAUSE", 600)
            with pytest.raises(BackendError, match=rf"^Redis at {server.url} does not answer within"):
                await backend.enter(60)
            await backend.fresh_for(60)

    asyncio.run(main())


def test_a_server_that_reads_its_data_in_is_waited_for(start_server: Callable[..., Server], app: str) -> None:
    server = start_server("--save", "", "--key-load-delay", "10000", "--rdbcompression", "no")
    server.do("DEBUG", "POPULATE", 40, "key", 1_000_000)

    async def main() -> None:
        async with opened(server.url, app) as backend:
            before = await claim(backend)
            reading = asyncio.create_task(asyncio.to_thread(server.do, "DEBUG", "RELOAD"))
            await asyncio.to_thread(wait_until, lambda: is_loading(server))
            assert (await claim(backend, now())).fence > before.fence
            await reading

    asyncio.run(main())


def is_loading(server: Server) -> bool:
    try:
        with redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as client:
            client.get("key:0")
    except redis.BusyLoadingError:
        return True
    return False


def test_a_replica_is_refused_with_a_line_and_used_once_it_is_promoted(
    server: Server, start_server: Callable[..., Server], app: str
) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            before = await claim(backend)
            await asyncio.to_thread(server.do, "REPLICAOF", "127.0.0.1", 1)
            with pytest.raises(BackendError, match="is a replica, which can't be written: name the primary"):
                await claim(backend, now())
            await asyncio.to_thread(server.do, "REPLICAOF", "NO", "ONE")
            assert (await claim(backend, now())).fence > before.fence

    asyncio.run(main())


def test_a_primary_that_becomes_a_replica_is_left_for_the_one_that_its_address_leads_to(
    server: Server, start_server: Callable[..., Server], app: str
) -> None:
    replica = replica_of(server, start_server)

    async def main() -> None:
        with Proxy(server.port) as proxy:
            async with opened(proxy.url, app) as backend:
                before = await claim(backend)
                await asyncio.to_thread(server.do, "WAIT", 1, 1000)
                await asyncio.to_thread(replica.do, "REPLICAOF", "NO", "ONE")
                await asyncio.to_thread(server.do, "REPLICAOF", "127.0.0.1", replica.port)
                proxy.port = replica.port  # what is connected stays connected to the old one
                after = await claim(backend, now())
                assert after.fence > before.fence
                assert [run.run_id for run in await backend.history("mail")] == [after.run_id, before.run_id]

    asyncio.run(main())
