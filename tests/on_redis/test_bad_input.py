"""What is wrong with a server is said in one line, at the start or while requests are served, without a password."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from backends.using import now
from cli.shell import pseudocron
from redis_server import Server, free_port
from support import Clock, Lifespan, hello, visit

from pseudocron import PseudoCronMiddleware
from pseudocron.crons import Crons
from pseudocron.errors import BackendError, ConfigError
from pseudocron.process import Process, _processes

if TYPE_CHECKING:
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


def test_a_host_that_can_not_be_reached_is_named_and_does_not_stop_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    assert start(f"redis://me:{SECRET}@127.0.0.1:{port}/0") == ""
    (told,) = caplog.messages
    assert told.startswith(f"poll failed: Redis at redis://***@127.0.0.1:{port}/0 can't be reached: ")
    assert told.endswith("is it running, and is the URL right?")
    assert SECRET not in told


def test_a_name_that_nobody_has_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert start(f"redis://:{SECRET}@nobody.invalid/0") == ""
    assert "can't be reached: " in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("ticker", [False, True])
def test_what_is_due_runs_once_a_server_is_there_that_was_away_at_the_start(tmp_path: Path, *, ticker: bool) -> None:
    server, ran = Server(tmp_path), list[int]()
    crons = Crons(backend=server.url, app="away")
    crons.add("often", lambda: ran.append(1), 0.05)

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons, ticker=ticker)
        async with Lifespan(app) as lifespan:
            assert not lifespan.failure
            if not ticker:
                assert (await visit(app))[0]["status"] == 200
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(10):
                while not ran:
                    if not ticker:
                        await visit(app)
                    await asyncio.sleep(0.02)

    try:
        asyncio.run(main())
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("", "does not let us in without a password: put it into the URL"),
        (f":wrong-{SECRET}@", "does not let us in: fix the user or the password of its URL"),
        (f"nobody:{SECRET}@", "does not let us in: fix the user or the password of its URL"),
    ],
)
def test_a_wrong_password_is_told_from_none(server: Server, user: str, told: str) -> None:
    server.do("CONFIG", "SET", "requirepass", SECRET)
    assert told in start(f"redis://{user}127.0.0.1:{server.port}/0")


def test_a_password_reaches_neither_check_nor_a_log(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = " hush:hush @ hush "  # noqa: S105 - of a server that lives for a test
    server.do("CONFIG", "SET", "requirepass", secret)
    url = f"redis://:{secret}@127.0.0.1:{server.port}/0"
    (tmp_path / "crons.py").write_text(f"BACKEND = {url!r}\nAPP = 'shop'\ncrons = {{}}")
    right = pseudocron(tmp_path, "check")
    assert right.returncode == 0, right.stderr
    server.stop()
    wrong = pseudocron(tmp_path, "check")
    assert wrong.returncode == 1
    start(url)
    for said in (right.stdout, right.stderr, wrong.stdout, wrong.stderr, caplog.text):
        assert "hush" not in said
    assert "Redis at redis://" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("url", ["localhost:6379", "localhost:6379/0", "//localhost", f"me:{SECRET}@localhost:6379"])
def test_a_url_without_a_scheme_is_refused_with_one(url: str) -> None:
    with pytest.raises(ConfigError, match=r"'redis://'") as error:
        Crons(backend=url)._connect()
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "rediss://127.0.0.1:{port}/0?ssl_password=hush hush",
        "rediss://127.0.0.1:{port}/0?ssl_keyfile=/key&ssl_password=hush@hush&socket_timeout=1",
        "redis://127.0.0.1:{port}/0?username=me&pass%77ord=hush#hush",
    ],
)
def test_a_password_in_the_query_reaches_no_log(url: str, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    said = start(url.format(port=port)) + caplog.text  # a file that is not there is the failure of the start
    assert f"127.0.0.1:{port}/0?" in said
    assert "hush" not in said


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:hush/hush@localhost:6379/0",
        "redis://:hush?hush@localhost/0",
        "redis://:hush#hush@localhost/0",
        "redis://me:1/hush@localhost/0",
        "redis://me:[hush@localhost/0",
        "redis://me:hush",
        "redis://:hush hush",
        "redis:me:hush hush@localhost",
        "redis:/me:hush hush@localhost",
        "redsi://me:hush hush@localhost",
        "rediss://?ssl_password=hush hush",
        ["redis://me:hush hush@localhost"],
    ],
)
def test_an_unusable_url_is_refused_without_its_password(url: object) -> None:
    with pytest.raises(ConfigError, match=r"did you mean|must ") as error:
        Crons(backend=url)._connect()  # type: ignore[arg-type]
    assert str(error.value).isprintable()
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("trouble", ["rights", "memory"])
def test_what_keeps_it_from_polling_is_logged_once_a_minute(
    server: Server, app: str, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    """A full server keeps it from deferring alone: what is due runs, and is recorded."""
    server.do("ACL", "SETUSER", "me", "on", f">{SECRET}", "~*", "+@all")
    crons = Crons(backend=f"redis://me:{SECRET}@127.0.0.1:{server.port}/0", app=app)
    clock, ran = Clock(now()), list[int]()
    process = _processes[id(crons)] = Process(crons, clock.host)
    crons.add("often", lambda: ran.append(1), 0.05)
    crons.task(name="mail")(lambda: None)
    middleware = PseudoCronMiddleware(hello, crons=crons, wait=10)

    async def come() -> None:
        clock.forward(2)
        process.deadline = -1
        assert [message.get("status") for message in await visit(middleware)] == [200, None]

    async def main() -> int:
        async with Lifespan(middleware) as lifespan:
            assert not lifespan.failure
            if trouble == "rights":
                await asyncio.to_thread(server.do, "ACL", "SETUSER", "me", "-evalsha", "-eval")
            else:
                await asyncio.to_thread(server.do, "CONFIG", "SET", "maxmemory", 1)
            caplog.clear()
            before = len(ran)
            async with asyncio.timeout(20):
                while len(caplog.messages) < 2 and len(ran) < before + 5:
                    await come()
            with pytest.raises(BackendError, match=r"is full \(.*\): give it more memory|not allow it"):
                await crons.tasks["mail"].defer()
            return len(ran) - before

    more = asyncio.run(main())
    lines = [line for line in caplog.messages if line.startswith("poll failed: ")]
    if trouble == "rights":
        assert more <= 1, "it was running"
        assert len(lines) == 2
        assert lines[1].endswith("(30 polls skipped since the last message)")
    else:
        assert more >= 5
        assert not lines
    assert SECRET not in caplog.text
