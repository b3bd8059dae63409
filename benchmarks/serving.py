"""A server with pseudocron or without, and clients that load it or measure it."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections import deque
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

from harness.uvicorn_server import Connection, Uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = """
import resource
import time
from pseudocron import PseudoCronMiddleware

def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return f"{{time.process_time()}} {{used.ru_nvcsw}} {{used.ru_nivcsw}}"

async def bare(scope, receive, send):
    assert scope["type"] == "http"
    body = usage().encode() if scope["path"] == "/usage" else b"hello"
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}})
    await send({{"type": "http.response.body", "body": body}})

app = PseudoCronMiddleware(bare, crons="crons.py"{options})
"""


class Server(Uvicorn):
    """A folder with an application and its crons, served by uvicorn until the block ends.

    Args:
        folder: Where the application is.
        app: `app` with pseudocron, `bare` without.
        crons: The text of `crons.py`.
        options: More options of the middleware, beginning with a comma.
        workers: How many processes serve.
        cores: To which cores the server and its children are pinned; all if None.
    """

    def __init__(
        self,
        folder: Path,
        *,
        app: str = "app",
        crons: str = "crons = {}",
        options: str = "",
        workers: int = 1,
        cores: set[int] | None = None,
    ) -> None:
        (folder / "app.py").write_text(APP.format(options=options), encoding="utf-8")
        (folder / "crons.py").write_text(crons, encoding="utf-8")
        super().__init__(f"app:{app}", folder, workers=workers, cores=cores)


def load(port: int, clients: int) -> AbstractContextManager[None]:
    """Run processes that request as fast as they are answered, until the block ends."""
    return _asking(f"ask_for_ever({port})", clients)


def visitor(port: int, *, gap: float) -> AbstractContextManager[None]:
    """Run a process that requests every so many seconds, until the block ends."""
    return _asking(f"ask_now_and_then({port}, gap={gap})", 1)


@contextmanager
def _asking(call: str, clients: int) -> Iterator[None]:
    code = f"from benchmarks import serving; serving.{call}"
    with ExitStack() as stack:
        for _ in range(clients):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", code]))
            stack.callback(process.kill)
        yield


def ask_for_ever(port: int, connections: int = 16) -> None:
    """Keep as many requests under way as there are connections, each of them new so that all processes get some."""
    asking: set[Connection] = set()
    while True:
        while len(asking) < connections:
            connection = Connection(port)
            connection.ask()
            asking.add(connection)
        for connection in select.select(asking, [], [])[0]:
            connection.answer()
            connection.close()
            asking.remove(connection)


def ask_now_and_then(port: int, *, gap: float) -> None:
    """Ask on a new connection each time, so that all processes get some; one of them may die of a signal meanwhile."""
    while True:
        with suppress(OSError), closing(Connection(port)) as connection:
            connection.get()
        time.sleep(gap)


def steadily(port: int, *, gap: float, seconds: float) -> list[tuple[float, float]]:
    """Ask at fixed moments, however long the answers take: each moment (Unix time), and seconds until the answer.

    The seconds count from the moment at which the request should have been sent (open loop): a server that
    stalls delays all that come meanwhile, and all of them tell.
    """
    idle = deque(Connection(port) for _ in range(8))
    asked: dict[Connection, float] = {}
    latencies: list[tuple[float, float]] = []
    began = time.time()
    for number in range(round(seconds / gap)):
        moment = began + number * gap
        while (left := moment - time.time()) > 0:
            _collect(asked, idle, latencies, left)
        connection = idle.popleft() if idle else Connection(port)
        asked[connection] = moment
        connection.ask()
    while asked:
        _collect(asked, idle, latencies, 1.0)
    for connection in idle:
        connection.close()
    return latencies


def _collect(
    asked: dict[Connection, float], idle: deque[Connection], latencies: list[tuple[float, float]], timeout: float
) -> None:
    """`select` waits for microseconds where `poll` rounds to milliseconds."""
    for connection in select.select(list(asked), [], [], timeout)[0]:
        connection.answer()
        moment = asked.pop(connection)
        latencies.append((moment, time.time() - moment))
        idle.append(connection)
