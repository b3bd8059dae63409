"""What is wrong with a server is said in one line, where the store is opened or used; and what endangers it."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from typing import TYPE_CHECKING

import pytest
from redis_server import Server, free_port, shared

from backends.redis.using import claim_jobs, defer, job, opened
from pseudocron.backends.redis.schema import VERSION
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSWORD = "hush-hush"  # noqa: S105 - of servers that live for a test
FORGETS = "forgets everything when it is restarted: jobs are only as durable as the Redis they are in, set appendonly"
EVICTS = "may throw away crons and jobs when its memory is full (maxmemory-policy is allkeys-lru): set maxmemory-policy"


def refusal(url: str, app: str = "app") -> str:
    """Why the store can't be opened; empty if it can."""

    async def use() -> str:
        try:
            async with opened(url, app):
                return ""
        except BackendError as error:
            return str(error)

    told = asyncio.run(use())
    assert "\n" not in told
    return told


def test_a_server_that_can_not_be_reached_is_named() -> None:
    told = refusal(f"redis://127.0.0.1:{free_port()}/0")
    assert "can't be reached: " in told
    assert told.endswith("is it running, and is the URL right?")
    assert "can't be reached: " in refusal("redis://nobody.invalid/0")


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("", "does not let us in without a password: put it into the URL"),
        (f":wrong-{PASSWORD}@", "does not let us in: fix the user or the password of its URL"),
        (f"nobody:{PASSWORD}@", "does not let us in: fix the user or the password of its URL"),
    ],
)
def test_a_wrong_password_is_told_from_none(server: Server, user: str, told: str) -> None:
    server.do("CONFIG", "SET", "requirepass", PASSWORD)
    assert told in refusal(f"redis://{user}127.0.0.1:{server.port}/0")


def test_a_database_that_is_not_there_is_named(server: Server) -> None:
    told = refusal(server.url.replace("/0", "/99"))
    assert told.endswith("has no database of that number: fix the end of its URL")


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
    told = refusal(f"redis://127.0.0.1:{old}/0?protocol=2")
    assert told.endswith("is version 5.0, must be 6.2 or newer, or Valkey: upgrade it")


def test_keys_of_another_type_are_left_alone(server: Server) -> None:
    server.do("LPUSH", "{shop}:version", "mine")
    assert "holds keys of another type where ours would be: give the application another name with app=" in refusal(
        server.url, "shop"
    )
    server.do("LPUSH", "{blog}:gate", "mine")

    async def main() -> None:
        async with opened(server.url, "blog") as backend:
            with pytest.raises(BackendError, match="holds keys of another type"):
                await backend.stale_in()

    asyncio.run(main())
    assert server.do("LRANGE", "{blog}:gate", 0, -1) == server.do("LRANGE", "{shop}:version", 0, -1) == ["mine"]


@pytest.mark.parametrize(
    ("version", "fix"),
    [
        ("1", "give the application another name with app="),
        ("4", "upgrade pseudocron"),
        ("mine", "upgrade pseudocron"),
    ],
)
def test_data_of_another_version_are_left_alone(server: Server, version: str, fix: str) -> None:
    server.do("SET", "{shop}:version", version)
    assert refusal(server.url, "shop").endswith(f"data of version {version!r}, this pseudocron knows {VERSION}: {fix}")
    assert server.do("KEYS", "*") == ["{shop}:version"]


@pytest.mark.parametrize("rights", ["~* +@connection", "~* +@all -evalsha -eval", "~other:* +@all", "~* +@all -hset"])
def test_a_user_without_the_rights_is_told_which(server: Server, rights: str) -> None:
    server.do("ACL", "SETUSER", "me", "on", f">{PASSWORD}", *rights.split())
    told = refusal(f"redis://me:{PASSWORD}@127.0.0.1:{server.port}/0")
    if "hset" in rights:
        assert not told  # it is called later
    else:
        assert "does not allow it: " in told
        assert told.endswith("; give this user all commands on the keys of the application")


def test_what_is_no_run_is_refused_in_one_line(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            (run_id,) = await defer(backend)
            await asyncio.to_thread(shared().do, "HSET", f"{{{app}}}:run:{run_id}", "created", "yesterday")
            with pytest.raises(BackendError, match=r"^the store holds a run that can't be read \(.*yesterday"):
                await backend.run(run_id)

    asyncio.run(main())


def test_a_job_that_was_evicted_keeps_no_gate_stale(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            gone, there = await defer(backend, job(), job())
            await asyncio.to_thread(shared().do, "DEL", f"{{{app}}}:run:{gone}")
            assert [claimed.run_id for claimed in await claim_jobs(backend)] == [there]
            assert await backend.stale_in() > 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (("--save", ""), [FORGETS]),
        (("--save", "", "--appendonly", "yes"), []),
        (("--save", "3600", "1", "--maxmemory-policy", "allkeys-lru"), []),
        (("--save", "", "--maxmemory-policy", "allkeys-lru", "--maxmemory", "1gb"), [EVICTS, FORGETS]),
        (("--save", "3600", "1", "--maxmemory-policy", "volatile-lru", "--maxmemory", "1gb"), []),
    ],
)
def test_what_endangers_jobs_is_advised_against(
    start_server: Callable[..., Server], app: str, options: tuple[str, ...], lines: list[str]
) -> None:
    async def main() -> list[str]:
        async with opened(start_server(*options).url, app) as backend:
            return list(await backend.advice())

    advice = asyncio.run(main())
    assert len(advice) == len(lines)
    assert all(line in said for line, said in zip(lines, advice, strict=True))
