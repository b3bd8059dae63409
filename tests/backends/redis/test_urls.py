"""Each way to name a server reaches it, by that user, in that database; one that can't is told in one line why."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from redis import RedisCluster
from support import Lifespan, hello, until

from backends.redis.test_server_check import refusal
from backends.redis.tls import CERTIFICATES, refusing, tls
from backends.redis.using import claim_jobs, defer, job, made, opened
from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.redis import server_check
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_server import Server

ODD = "p@ss w/o:rd%#?é&=+"
"""A password with all that means something in a URL."""
AUTHORITY = f"ssl_ca_certs={CERTIFICATES / 'ca.pem'}"
KNOWN = f"ssl_certfile={CERTIFICATES / 'client.pem'}&ssl_keyfile={CERTIFICATES / 'client.key'}"


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="a b") as folder:  # pytest's own may be longer than such a path can be
        yield Path(folder) / "redis.sock"


@pytest.fixture
def server(start_server: Callable[..., Server], path: Path) -> Server:
    server = start_server("--save", "", "--unixsocket", str(path), "--unixsocketperm", "700")
    server.do("ACL", "SETUSER", "me", "on", f">{ODD}", "~*", "+@all")
    return server


def counts(server: Server) -> dict[int, int]:
    """How many keys there are in each database that has some."""
    return {int(name.removeprefix("db")): int(of["keys"]) for name, of in server.do("INFO", "keyspace").items()}


async def use(store: Any, app: str, arguments: str = "{}") -> None:
    """Store jobs, at once and one after another, and read them."""
    async with opened(store, app) as backend:
        ids = [*await defer(backend, job(), job(arguments=arguments)), *await defer(backend)]
        assert [run.run_id for run in await claim_jobs(backend)] == ids
        found = [await backend.run(run_id) for run_id in ids]
        assert [run.arguments for run in found if run] == ["{}", arguments, "{}"]


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://localhost:{port}", 0),
        ("redis://127.0.0.1:{port}?db=3", 3),
        ("redis://me:{odd}@127.0.0.1:{port}/3", 3),
        ("redis://127.0.0.1:{port}/3?username=me&password={odd}", 3),
        ("redis://127.0.0.1:{port}/3?socket_timeout=5&protocol=2&decode_responses=yes&health_check_interval=1", 3),
        ("redis://127.0.0.1:{port}/3?protocol=3&client_name=me&socket_read_size=100", 3),
        ("redis://127.0.0.1:{port}/3?max_connections=1", 3),
        ("redis://127.0.0.1:{port}/3?max_connections=2", 3),
        ("unix://{path}", 0),
        ("unix://{path}?db=3", 3),
        ("unix://me:{odd}@{path}?db=3", 3),
    ],
)
def test_a_url_reaches_the_database_by_the_user_that_it_names(
    server: Server, app: str, path: Path, url: str, database: int
) -> None:
    if "me:" in url or "username=me" in url:
        server.do("ACL", "SETUSER", "default", "off")
    asyncio.run(use(url.format(port=server.port, path=path, odd=quote(ODD, safe="")), app))
    if "{odd}" not in url:
        assert counts(server).keys() == {database}


def test_a_password_of_the_default_user_may_have_a_space(server: Server, app: str) -> None:
    server.do("CONFIG", "SET", "requirepass", "hush hush")
    asyncio.run(use(f"redis://:hush hush@127.0.0.1:{server.port}/0", app))


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:{port}", "unix://{path}", f"rediss://127.0.0.1:{{tls}}?{AUTHORITY}"]
)
def test_arguments_are_stored_that_no_socket_takes_at_once(server: Server, app: str, path: Path, url: str) -> None:
    with tls(server.port) as port:
        asyncio.run(use(url.format(port=server.port, path=path, tls=port), app, "x" * 9_000_000))


@pytest.mark.parametrize(("asks", "query"), [(False, AUTHORITY), (True, f"{AUTHORITY}&{KNOWN}")])
def test_a_url_with_tls_reaches_a_server_whose_authority_it_names(
    server: Server, app: str, query: str, *, asks: bool
) -> None:
    with tls(server.port, asks=asks) as port:
        asyncio.run(use(f"rediss://me:{quote(ODD, safe='')}@localhost:{port}/3?{query}", app))
    assert counts(server).keys() == {3}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "shows a certificate that is not trusted"),
        (f"{AUTHORITY}&ssl_certfile=/none.pem&ssl_keyfile=/none.key", "there is no file '/none.pem'"),
        ("ssl_ca_certs=/none.pem", "there is no file '/none.pem'"),
        (f"{AUTHORITY}&ssl_keyfil=/none.pem", "has no option 'ssl_keyfil'"),
        (f"{AUTHORITY}&socket_timeout=soon", "socket_timeout"),
    ],
)
def test_what_is_wrong_with_a_certificate_or_an_option_is_told_with_the_fix(
    server: Server, query: str, told: str
) -> None:
    with tls(server.port, asks=True) as port:
        assert told in refusal(f"rediss://localhost:{port}/0?{query}")


def test_a_socket_that_is_not_there_can_not_be_reached() -> None:
    assert "can't be reached: " in refusal("unix:///none/redis.sock")


def no_client() -> Any:
    raise ZeroDivisionError("of the user's")


def half_a_client() -> Any:
    return object()


def a_blocking_cluster() -> Any:
    return RedisCluster.__new__(RedisCluster)


def test_a_certificate_that_a_server_asks_for_is_told() -> None:
    with refusing() as port:
        assert "asks for a certificate: add ssl_certfile=" in refusal(f"rediss://localhost:{port}/0?{AUTHORITY}")


@pytest.mark.parametrize("make", [no_client, half_a_client, a_blocking_cluster])
def test_a_client_that_can_not_be_made_or_used_is_the_failure_of_the_start(make: Any) -> None:
    async def start() -> str | None:
        async with Lifespan(PseudoCronMiddleware(hello, crons=Crons(backend=make, app="shop"))) as lifespan:
            return lifespan.failure

    told = asyncio.run(start())
    assert told is not None
    assert told.startswith(f"Redis at the client of {make.__name__}() ")
    assert ("ZeroDivisionError: of the user's" in told) == (make is no_client)
    assert ("return one of redis.asyncio.cluster" in told) == (make is a_blocking_cluster)


def test_a_start_by_a_socket_polls(server: Server, app: str, path: Path) -> None:
    crons, ran = Crons(backend=f"unix://{path}", app=app), list[int]()
    crons.add("often", lambda: ran.append(1), 0.05)

    async def main() -> None:
        async with Lifespan(PseudoCronMiddleware(hello, crons=crons, ticker=True)) as lifespan:
            assert lifespan.failure is None
            await until(lambda: ran)

    asyncio.run(main())


@contextmanager
def failing_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the first check of a server fail while others go on."""
    check, calls = server_check.check_server, list[int]()

    async def fail_first(connection: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise BackendError("the first")
        await check(connection)

    monkeypatch.setattr("pseudocron.backends.redis.backend.check_server", fail_first)
    yield
    assert len(calls) == 10


def test_a_first_open_that_fails_takes_none_with_it_that_go_on_at_once(
    server: Server, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = made(server.url, app)

    async def main() -> None:
        with failing_once(monkeypatch):
            told = await asyncio.gather(*(backend.open() for _ in range(10)), return_exceptions=True)
        assert [str(error) for error in told if error] == ["the first"]
        assert await defer(backend)
        await backend.close()

    asyncio.run(main())
