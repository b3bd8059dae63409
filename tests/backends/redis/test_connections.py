"""What may befall a connection, or the server at its other end: the call goes on, or says in one line why not."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_server import Server
from support import wait_until

from backends.redis.proxy import Proxy
from backends.redis.using import claim, defer, job, made, opened, take
from pseudocron.backends.questions import Poll, Where
from pseudocron.backends.redis.async_client import AT_ONCE
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def replica_of(primary: Server, start_server: Callable[..., Server]) -> Server:
    replica = start_server(
        "--save", "", "--replicaof", "127.0.0.1", str(primary.port), "--repl-diskless-sync-delay", "0"
    )
    wait_until(lambda: replica.do("INFO", "replication").get("master_link_status") == "up", 20)
    return replica


def test_scripts_that_the_server_has_forgotten_are_told_it_again(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            first = await claim(backend)
            await asyncio.to_thread(server.do, "SCRIPT", "FLUSH")
            assert (await claim(backend)).fence > first.fence
            await asyncio.to_thread(server.do, "SCRIPT", "FLUSH")
            assert await defer(backend)

    asyncio.run(main())


def test_a_connection_that_is_cut_is_made_anew(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            await claim(backend)
            assert await asyncio.to_thread(server.do, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert await backend.poll(Poll(take()))

    asyncio.run(main())


def test_a_server_that_is_silent_for_a_while_is_waited_for(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            await asyncio.to_thread(server.do, "CLIENT", "PAUSE", 300)
            began = time.monotonic()
            await claim(backend)
            assert time.monotonic() - began > 0.1
            assert len(await backend.runs(Where())) == 1

    asyncio.run(main())


def test_a_silent_server_is_given_up_and_used_when_it_is_back(
    server: Server, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pseudocron.backends.redis.connection.ANSWER_WITHIN", 0.5)

    async def main() -> None:
        async with opened(server.url, app) as backend:
            await asyncio.to_thread(server.do, "CLIENT", "PAUSE", 600)
            with pytest.raises(BackendError, match=rf"^Redis at {server.url} does not answer within"):
                await backend.poll(Poll(take()))
            await backend.stale_in()

    asyncio.run(main())


@pytest.fixture
def stopped(server: Server) -> Iterator[Server]:
    """A server that takes calls and answers none."""
    assert server.process
    yield server
    server.process.send_signal(signal.SIGCONT)


def test_a_server_that_has_stopped_is_given_up_after_five_seconds(stopped: Server, app: str) -> None:
    async def main() -> None:
        async with opened(stopped.url, app) as backend:
            assert stopped.process
            stopped.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(BackendError, match=r" does not answer within 5 s$"):
                await backend.poll(Poll(take()))
            assert 5.0 <= time.monotonic() - began < 7.0
            began = time.monotonic()
        assert time.monotonic() - began < 2.0

    asyncio.run(main())


def test_a_server_that_reads_its_data_in_is_waited_for(start_server: Callable[..., Server], app: str) -> None:
    server = start_server("--save", "", "--key-load-delay", "10000", "--rdbcompression", "no")
    for number in range(40):
        server.do("SETRANGE", f"key:{number}", 1_000_000, "x")

    async def main() -> None:
        async with opened(server.url, app) as backend:
            before = await claim(backend)
            server.do("SAVE")
            server.kill()
            reading = asyncio.create_task(asyncio.to_thread(server.start))
            await asyncio.to_thread(wait_until, lambda: is_loading(server))
            assert (await claim(backend)).fence > before.fence
            await reading

    asyncio.run(main())


def is_loading(server: Server) -> bool:
    try:
        with redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as client:
            client.get("key:0")
    except redis.BusyLoadingError:
        return True
    except redis.ConnectionError:
        return False  # it has not begun
    return False


def test_a_replica_is_refused_with_a_line_and_used_once_it_is_promoted(
    server: Server, start_server: Callable[..., Server], app: str
) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            before = await claim(backend)
            await asyncio.to_thread(server.do, "REPLICAOF", "127.0.0.1", 1)
            with pytest.raises(BackendError, match="is a replica, which can't be written: name the primary"):
                await claim(backend)
            await asyncio.to_thread(server.do, "REPLICAOF", "NO", "ONE")
            assert (await claim(backend)).fence > before.fence

    asyncio.run(main())


def test_a_primary_that_became_a_replica_is_left_for_the_new_one(
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
                after = await claim(backend)
                assert after.fence > before.fence
                assert [run.run_id for run in await backend.runs(Where())] == [after.run_id, before.run_id]

    asyncio.run(main())


def test_calls_at_once_share_the_few_connections_that_a_client_allows(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(f"{server.url}?max_connections={AT_ONCE}", app) as backend:
            ids = await asyncio.gather(*(defer(backend) for _ in range(20 * AT_ONCE)))
            assert len({run_id for (run_id,) in ids}) == 20 * AT_ONCE

    asyncio.run(main())


def test_what_is_asked_is_done_though_who_asked_is_cancelled(
    server: Server, app: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            one = job()
            await asyncio.to_thread(server.do, "CLIENT", "PAUSE", 100)
            asking = asyncio.ensure_future(defer(backend, one))
            await asyncio.sleep(0)  # it has asked
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            async with asyncio.timeout(5):
                while await backend.run(one.run_id) is None:
                    pass

    asyncio.run(main())
    assert not caplog.records


def test_a_closed_event_loop_leaves_the_others_their_answers(
    server: Server, app: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend = made(server.url, app)
    one = job()

    def ask_and_go() -> None:
        server.do("CLIENT", "PAUSE", 100)
        loop = asyncio.new_event_loop()
        asking = loop.create_task(defer(backend, one))
        loop.run_until_complete(asyncio.sleep(0))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(asking)
        loop.close()

    async def main() -> None:
        while await backend.run(one.run_id) is None:
            pass

    with asyncio.Runner() as runner:
        runner.run(backend.open())
        ask_and_go()
        runner.run(asyncio.wait_for(main(), 5))
        runner.run(backend.close())
    assert not caplog.records
