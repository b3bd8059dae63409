"""Pings: to a server that is there, is slow, refuses, or is not there."""

from __future__ import annotations

import asyncio
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hooks.conftest import STORES
from support import START
from worker.world import World

from pseudocron.backends.model import State
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError
from pseudocron.hooks import Event, EventKind
from pseudocron.instrumentation import ping
from pseudocron.report import history_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Health:
    """A server in the manner of healthchecks.io, and what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bytes]] = []
        self.status = 200
        self.answers = threading.Event()
        self.answers.set()
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                path, _, query = self.path.partition("?")
                health.told.append((path, query, body))
                health.answers.wait(20)
                self.send_response(health.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret-uuid"

    @property
    def paths(self) -> list[str]:
        return [path.removeprefix("/secret-uuid") for path, _, _ in self.told]


@pytest.fixture
def health() -> Iterator[Health]:
    health = Health()
    thread = threading.Thread(target=health.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield health
    health.answers.set()
    health.server.shutdown()
    thread.join()
    health.server.server_close()


@pytest.mark.parametrize("store", STORES)
def test_a_run_pings_when_it_starts_and_when_it_ends_and_no_other_cron_does(
    store: str, health: Health, tmp_path: Path
) -> None:
    crons = Crons()
    crons.add("fine", lambda: None, 60, ping=health.url)
    crons.add("unwatched", lambda: None, 60)
    world = World(crons, store=STORES[store](tmp_path))

    async def main() -> str:
        await world.backend.open()
        await world.poll_all()
        lines = await history_of(world.backend, "fine", limit=99)
        await world.backend.close()
        return lines[0].run_id

    run_id = asyncio.run(main())
    assert health.paths == ["/start", ""]
    assert {query for _, query, _ in health.told} == {f"rid={UUID(run_id)}"}


def test_a_failure_is_pinged_with_the_end_of_its_traceback(health: Health) -> None:
    crons = Crons()

    @crons.every(60, ping=health.url + "/?create=1")
    def broken() -> None:
        raise ValueError("oh no" * 5000)

    asyncio.run(World(crons).poll_all())
    path, query, body = health.told[-1]
    assert path == "/secret-uuid/fail"
    assert query.startswith("create=1&rid=")
    assert body.endswith(b"oh no\n")
    assert len(body) == ping.MOST


def test_a_lost_run_is_pinged_by_who_finds_it(health: Health) -> None:
    crons = Crons()
    crons.add("fine", lambda: None, 3600, ping=health.url)
    world = World(crons)

    async def main() -> None:
        await world.claimed_elsewhere()
        world.clock.forward(31)
        await world.poll_all()

    asyncio.run(main())
    assert health.paths == ["/fail"]


@pytest.mark.parametrize("trouble", ["refuses", "is not there", "is silent"])
def test_a_failed_ping_is_logged_without_its_url_and_harms_no_run(
    trouble: str, health: Health, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ping, "TIMEOUT", 0.05)
    if trouble == "refuses":
        health.status = 404
    if trouble == "is silent":
        health.answers.clear()
    url = "http://127.0.0.1:9/secret-uuid" if trouble == "is not there" else health.url
    crons = Crons()
    crons.add("fine", lambda: None, 60, ping=url)
    world = World(crons)
    asyncio.run(world.poll_all())
    (line,) = asyncio.run(history_of(world.backend, limit=99))
    assert line.outcome is State.SUCCEEDED
    assert "fine: the ping of started did not arrive" in caplog.text
    assert "secret-uuid" not in caplog.text


def test_a_ping_to_a_silent_server_is_given_up_after_five_seconds(
    health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    health.answers.clear()
    started = Event(kind=EventKind.STARTED, name="fine", is_job=False, slot=START)
    began = time.monotonic()
    ping.Ping("fine", health.url)(started)
    assert 4.9 < time.monotonic() - began < 9
    assert "fine: the ping of started did not arrive" in caplog.text


def test_a_config_file_may_say_where_a_cron_pings(health: Health) -> None:
    crons = Crons.read({"fine": {"run": "time:time", "schedule": 60, "ping": health.url}}, where="crons.py")
    asyncio.run(World(crons).poll_all())
    assert health.paths == ["/start", ""]


@pytest.mark.parametrize(
    "url", ["hc-ping.com/uuid", "ftp://hc-ping.com", "https://", "http://a b", 7, "file:///etc/passwd"]
)
def test_what_is_no_url_of_the_web_is_refused_where_it_is_written(url: Any) -> None:
    with pytest.raises(ConfigError, match=r"ping: .* must be a URL"):
        Crons().add("fine", print, 60, ping=url)
