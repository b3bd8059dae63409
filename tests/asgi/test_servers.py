"""Real servers and raw sockets: the bytes are those of the bare application; a reload; a fork with the store open."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest
from servers.serving import Server, Visitors
from support import wait_until

from harness.process_tree import children

if TYPE_CHECKING:
    from pathlib import Path

APP = """
import asyncio
from pathlib import Path
from pseudocron import PseudoCronMiddleware
from pseudocron.process import process_of

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}

async def events(scope, receive, send):
    await send(START)
    while True:
        try:
            await send({"type": "http.response.body", "body": b"data: tick\\n\\n", "more_body": True})
            async with asyncio.timeout(0.02):
                while (await receive())["type"] != "http.disconnect":
                    pass
            break
        except TimeoutError:
            continue
        except OSError:
            break
    await asyncio.to_thread(Path(scope["path"].replace("/", "-")[1:]).touch)

async def upload(scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    body = str(size).encode()
    await send(START | {"headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})

async def refuse(scope, receive, send):
    await send(START | {"status": 413, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})

async def chunks(scope, receive, send):
    await send(START)
    for _ in range(3):
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
    await send({"type": "http.response.body"})

async def late(scope, receive, send):
    await send(START)
    await send({"type": "http.response.body", "body": b"part", "more_body": True})
    raise ZeroDivisionError

async def early(scope, receive, send):
    raise ZeroDivisionError

async def silent(scope, receive, send):
    pass

async def bare(scope, receive, send):
    if scope["type"] == "http":
        page = scope["path"].rpartition("/")[2]
        await globals().get(page, chunks)(scope, receive, send)

wrapped = PseudoCronMiddleware(bare, crons="crons.py")
waiting = PseudoCronMiddleware(bare, crons="crons.py", wait=5)

async def app(scope, receive, send):
    prefix = scope.get("path", "").split("/")[1:2]
    if prefix == ["bare"]:
        await bare(scope, receive, send)
        return
    if scope["type"] == "http":
        process_of("crons.py").deadline = -1  # a look is due with each of them
    await (waiting if prefix == ["waiting"] else wrapped)(scope, receive, send)
"""

GET = b"GET %s HTTP/1.1\r\nhost: test\r\n"
CLOSE = b"connection: close\r\n"
EXPECT = b"POST %s HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100"

TALKS: dict[str, list[bytes]] = {
    "chunks": [GET + CLOSE + b"\r\n"],
    "HEAD": [(GET + CLOSE + b"\r\n").replace(b"GET", b"HEAD")],
    "two requests on one connection": [GET + b"\r\n" + GET + CLOSE + b"\r\n"],
    "upload": [EXPECT, b"hello"],
    "refuse": [EXPECT],
    "late": [GET + CLOSE + b"\r\n"],
    "early": [GET + CLOSE + b"\r\n"],
    "silent": [GET + CLOSE + b"\r\n"],
}


def serve(folder: Path, name: str) -> Server:
    server = Server(folder, '{"often": ("jobs:on_the_loop", 0.05)}')
    (folder / "app.py").write_text(APP)
    if name == "uvicorn":
        return server.uvicorn("--log-level", "critical")
    return server.start("hypercorn", "app:app", "--bind", f"127.0.0.1:{server.port}")


def talk(server: Server, path: str, says: list[bytes]) -> bytes:
    """All that the server sends, without the date; what follows the first part waits for `100 Continue`."""
    heard = b""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        for part in says:
            connection.sendall(part.replace(b"%s", path.encode()))
            while part is not says[-1] and CONTINUE not in heard:
                heard += connection.recv(1)
        while received := connection.recv(65536):
            heard += received
    return re.sub(rb"\r\ndate: [^\r]*", b"", heard, flags=re.IGNORECASE)


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn"])
def test_the_bytes_on_the_wire_are_those_of_the_bare_application(name: str, tmp_path: Path) -> None:
    with serve(tmp_path, name) as server:
        for page, says in TALKS.items():
            bare = talk(server, f"/bare/{page}", says)
            assert bare.startswith(b"HTTP/1.1 ")
            assert CONTINUE in bare or page != "upload"
            for wrapped in ("wrapped", "waiting"):
                assert talk(server, f"/{wrapped}/{page}", says) == bare
        wait_until(lambda: server.notes("often"), 5)


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn"])
def test_a_stream_goes_on_beside_the_runs_and_ends_when_its_client_drops_it(name: str, tmp_path: Path) -> None:
    with serve(tmp_path, name) as server:
        for prefix in ("bare", "wrapped", "waiting"):
            with socket.create_connection(("127.0.0.1", server.port), 10) as client:
                client.sendall((GET + b"\r\n").replace(b"%s", f"/{prefix}/events".encode()))
                ran, heard = len(server.notes("often")), b""
                while heard.count(b"tick") < 5 or len(server.notes("often")) < ran + 2:
                    heard += client.recv(4096)
                    assert server.visit()
            wait_until((tmp_path / f"{prefix}-events").exists, 5)
    slots = server.notes("often")
    assert len(set(slots)) == len(slots)


def has_seen_an_edit(server: Server) -> bool:
    """Edit the application once more and return whether the reloader saw it: its first look only learns the times."""
    (server.folder / "app.py").touch()
    return "Reloading" in server.log


def test_a_reload_drains_the_old_worker_and_no_slot_runs_twice(tmp_path: Path) -> None:
    crons = '{"often": ("jobs:on_the_loop", 0.2), "drained": ("jobs:until_told", 3600)}'
    with Server(tmp_path, crons).uvicorn("--reload") as server, Visitors(server, 1):
        wait_until(lambda: len(server.notes("often")) >= 2 and server.notes("drained"), 5)
        old = server.workers()
        wait_until(lambda: has_seen_an_edit(server), 5)
        (tmp_path / "end").touch()
        wait_until(lambda: server.workers() and server.workers() != old, 10)
        count = len(server.notes("often"))
        wait_until(lambda: len(server.notes("often")) >= count + 2, 5)
    slots = server.notes("often")
    assert len(set(slots)) == len(slots)
    assert server.notes("drained") == ["begins", "ends"]


FORKED = """
import asyncio

async def before_the_fork():
    async def send(message): ...
    waiting = PseudoCronMiddleware(hello, crons="crons.py", wait=10)
    await waiting({"type": "http", "path": "/"}, send, send)

asyncio.run(before_the_fork())
"""

WHO = """
def who():
    note(f"{current_run().slot.isoformat()} {os.getpid()}")
"""


def test_gunicorn_workers_with_an_open_store_run_each_slot_once(tmp_path: Path) -> None:
    server = Server(tmp_path, '{"often": ("jobs:who", 0.1)}')
    for file, more in (("app.py", FORKED), ("jobs.py", WHO)):
        with (tmp_path / file).open("a") as module:
            module.write(more)
    argv = ("-k", "uvicorn_worker.UvicornWorker", "--preload", "-w", "2", "-b", f"127.0.0.1:{server.port}", "app:app")

    def runners() -> set[int]:
        return {int(line.split()[1]) for line in server.notes("often")}

    with server.start("gunicorn", *argv), Visitors(server):
        assert server.process.pid in runners(), "the store was opened before the fork"
        wait_until(lambda: len(set(children(server.process.pid)) & runners()) == 2, 20)
        wait_until(lambda: len(server.notes("often")) >= 20, 10)
    slots = [line.split()[0] for line in server.notes("often")]
    assert len(set(slots)) == len(slots)
    assert "Traceback" not in server.log
