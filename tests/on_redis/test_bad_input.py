"""What is wrong with a server is said in one line, at the start or while requests are served, without a password."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from typing import TYPE_CHECKING

import pytest
from cli.shell import pseudocron
from redis_server import Server, free_port
from support import Clock, Lifespan, hello, visit

from on_redis.using import claim, claim_jobs, defer, job, now, opened
from pseudocron import PseudoCronMiddleware
from pseudocron.backends.jobs import JobEnd, State
from pseudocron.backends.records import Outcome, Result
from pseudocron.crons import Crons
from pseudocron.errors import BackendError, ConfigError
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "hush-hush"  # noqa: S105 - of servers that live for a test


def start(url: str, app: str = "app") -> str:
    """What the server is told if the application can't start."""

    async def use() -> str:
        async with Lifespan(PseudoCronMiddleware(hello, crons=Crons(backend=url, app=app))) as lifespan:
            return lifespan.failure or ""

    told = asyncio.run(use())
    assert told.isprintable()
    assert SECRET not in told
    return told


def test_a_host_that_can_not_be_reached_is_named() -> None:
    port = free_port()
    told = start(f"redis://me:{SECRET}@127.0.0.1:{port}/0")
    assert told.startswith(f"Redis at redis://***@127.0.0.1:{port}/0 can't be reached: ")
    assert told.endswith("is it running, and is the URL right?")


def test_a_name_that_nobody_has_is_named() -> None:
    assert "can't be reached: " in start(f"redis://:{SECRET}@nobody.invalid/0")


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("", "does not let us in without a password: put it into the URL"),
        (f":wrong-{SECRET}@", "does not let us in: mend the user or the password of its URL"),
        (f"nobody:{SECRET}@", "does not let us in: mend the user or the password of its URL"),
    ],
)
def test_a_wrong_password_is_told_from_none(server: Server, user: str, told: str) -> None:
    server.do("CONFIG", "SET", "requirepass", SECRET)
    assert told in start(f"redis://{user}127.0.0.1:{server.port}/0")


def test_a_password_reaches_neither_check_nor_a_log(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.do("CONFIG", "SET", "requirepass", SECRET)
    url = f"redis://:{SECRET}@127.0.0.1:{server.port}/0"
    (tmp_path / "crons.py").write_text(f"BACKEND = {url!r}\ncrons = {{}}")
    right = pseudocron(tmp_path, "check")
    assert right.returncode == 0, right.stderr
    server.stop()
    wrong = pseudocron(tmp_path, "check")
    assert wrong.returncode == 1
    start(url)
    for said in (right.stdout, right.stderr, wrong.stdout, wrong.stderr, caplog.text):
        assert SECRET not in said
    assert "Redis at redis://" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_a_database_that_is_not_there_is_named(server: Server) -> None:
    told = start(server.url.replace("/0", "/99"))
    assert (
        told == f"Redis at redis://127.0.0.1:{server.port}/99 has no database of that number: mend the end of its URL"
    )


@pytest.mark.parametrize("url", ["localhost:6379", "localhost:6379/0", "//localhost", f"me:{SECRET}@localhost:6379"])
def test_a_url_without_a_scheme_is_refused_with_one(url: str) -> None:
    with pytest.raises(ConfigError, match=r"'redis://'") as error:
        Crons(backend=url)._connect()
    assert SECRET not in str(error.value)


class Old(socketserver.StreamRequestHandler):
    """A server of a version that can no longer be had: it says which, and OK to all else."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:size].upper())
            self.wfile.write(self.answer(words))

    def answer(self, words: list[bytes]) -> bytes:
        if words[0] == b"INFO":
            said = b"# Server\r\nredis_version:5.0.7\r\n"
            return b"$%d\r\n%s\r\n" % (len(said), said)
        return b"-ERR unknown command\r\n" if words[0] == b"HELLO" else b"+OK\r\n"


@pytest.fixture
def old() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Old) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


def test_a_server_that_is_too_old_is_named(old: int) -> None:
    told = start(f"redis://127.0.0.1:{old}/0?protocol=2")
    assert told.endswith("is version 5.0, must be 6.2 or newer, or Valkey: upgrade it")


def test_keys_of_another_type_are_left_alone(server: Server) -> None:
    server.do("LPUSH", "{shop}:version", "mine")
    assert "holds keys of another type where ours would be: give the application another name with app=" in start(
        server.url, "shop"
    )
    server.do("LPUSH", "{blog}:gate", "mine")

    async def main() -> None:
        async with opened(server.url, "blog") as backend:
            with pytest.raises(BackendError, match="holds keys of another type"):
                await backend.fresh_for(60)

    asyncio.run(main())
    assert server.do("LRANGE", "{blog}:gate", 0, -1) == server.do("LRANGE", "{shop}:version", 0, -1) == ["mine"]


@pytest.mark.parametrize("version", ["2", "mine"])
def test_data_of_a_newer_version_are_left_alone(server: Server, version: str) -> None:
    server.do("SET", "{shop}:version", version)
    assert f"holds data of version {version!r}, this pseudocron knows 1: upgrade pseudocron" in start(
        server.url, "shop"
    )
    assert server.do("KEYS", "*") == ["{shop}:version"]


@pytest.mark.parametrize("rights", ["~* +@connection", "~* +@all -evalsha -eval", "~other:* +@all", "~* +@all -hset"])
def test_a_user_without_the_rights_is_told_which(server: Server, rights: str) -> None:
    server.do("ACL", "SETUSER", "me", "on", f">{SECRET}", *rights.split())
    told = start(f"redis://me:{SECRET}@127.0.0.1:{server.port}/0")
    if "hset" in rights:
        assert not told  # it is asked for later
    else:
        assert "does not allow it: " in told
        assert told.endswith("; give this user all commands on the keys of the application")


def test_a_full_server_loses_nothing_and_says_so(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            granted, other = await claim(backend), await claim(backend, now())
            ids = await defer(backend, *(job() for _ in range(3)))
            (claimed, *_) = await claim_jobs(backend, 1)
            await asyncio.to_thread(server.do, "CONFIG", "SET", "maxmemory", 1)
            with pytest.raises(BackendError, match=r"is full \(.*\): give it more memory; nothing is lost"):
                await defer(backend)
            assert await asyncio.to_thread(backend.renew, [granted, other], 30) == {granted.run_id, other.run_id}
            assert await asyncio.to_thread(backend.renew_jobs, [claimed], 30) == {claimed.job_id}
            assert await backend.finish(granted, Result(outcome=Outcome.SUCCEEDED))
            assert await backend.finish_jobs([(claimed, JobEnd(state=State.SUCCEEDED))]) == [State.SUCCEEDED]
        async with opened(server.url, app) as backend:  # and a start is not refused for it
            await asyncio.to_thread(server.do, "CONFIG", "SET", "maxmemory", 0)
            assert await backend.finish(other, Result(outcome=Outcome.SUCCEEDED))
            assert {one.job_id for one in await backend.jobs()} == set(ids)

    asyncio.run(main())


@pytest.mark.parametrize("trouble", ["rights", "memory"])
def test_while_running_requests_are_served_and_it_is_said_once_a_minute(
    server: Server, app: str, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    server.do("ACL", "SETUSER", "me", "on", f">{SECRET}", "~*", "+@all")
    crons = Crons(backend=f"redis://me:{SECRET}@127.0.0.1:{server.port}/0", app=app)
    crons.add("often", int, 0.001)
    middleware = PseudoCronMiddleware(hello, crons=crons, wait=10)
    clock = Clock(now())

    async def come() -> None:
        clock.forward(2)
        process_of(crons).deadline = -1
        assert [message.get("status") for message in await visit(middleware)] == [200, None]

    async def main() -> None:
        process_of(crons)._host = clock.host
        async with Lifespan(middleware) as lifespan:
            assert not lifespan.failure
            if trouble == "rights":
                await asyncio.to_thread(server.do, "ACL", "SETUSER", "me", "-evalsha", "-eval")
            else:
                await asyncio.to_thread(server.do, "CONFIG", "SET", "maxmemory", 1)
            caplog.clear()
            for _ in range(40):
                await come()

    asyncio.run(main())
    lines = [line for line in caplog.messages if line.startswith("poll failed: ")]
    assert len(lines) == 2
    assert lines[1].endswith("(30 polls skipped since the last message)")
    assert SECRET not in caplog.text
