"""Servers in processes of their own, and clients that load them or measure them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent
REQUEST = b"GET %s HTTP/1.1\r\nhost: bench\r\n\r\n"
START_WITHIN = 30.0
"""Seconds."""

APP = """
import time
from pseudocron import PseudoCronMiddleware

async def bare(scope, receive, send):
    assert scope["type"] == "http"
    body = str(time.process_time()).encode() if scope["path"] == "/cpu" else b"hello"
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}})
    await send({{"type": "http.response.body", "body": body}})

app = PseudoCronMiddleware(bare, crons="crons.py"{options})
"""


class Connection:
    """A connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def ask(self, path: str = "/") -> None:
        """Send a request."""
        self._socket.sendall(REQUEST % path.encode())

    def answer(self) -> bytes:
        """The body of its response; those measured here come in one piece."""
        received = self._socket.recv(65536)
        while b"\r\n\r\n" not in received or received.endswith(b"\r\n\r\n"):
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError(f"the server has hung up after {received!r}")
            received += more
        if not received.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"the server has answered {received!r}")
        return received.partition(b"\r\n\r\n")[2]

    def get(self, path: str = "/") -> bytes:
        """One request and its response."""
        self.ask(path)
        return self.answer()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Uvicorn:
    """uvicorn, serving an application until the block ends.

    Args:
        target: What it imports.
        folder: Where it runs, and imports from first.
        workers: How many processes serve.
        cores: To which cores the server and its children are pinned; all if None.
        environ: What it finds in its environment besides ours.
        python: The interpreter.
    """

    def __init__(
        self,
        target: str,
        folder: Path,
        *,
        workers: int = 1,
        cores: set[int] | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
        python: str = sys.executable,
    ) -> None:
        self.port = _free_port()
        self._folder = folder
        self._cores = cores
        self._environ = {**os.environ, "PYTHONPATH": os.pathsep.join([".", str(ROOT)]), **environ}
        server = ["-m", "uvicorn", target, "--port", str(self.port), "--workers", str(workers)]
        self._argv = [python, *server, "--log-level", "warning", "--no-access-log"]

    @property
    def pid(self) -> int:
        """The process that serves, or watches those that do."""
        return self._process.pid

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, cwd=self._folder, env=self._environ)
        if self._cores:
            os.sched_setaffinity(self._process.pid, self._cores)
        end = time.monotonic() + START_WITHIN
        while True:
            try:
                Connection(self.port).close()
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(START_WITHIN)


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
    """Processes that ask as fast as they are answered, until the block ends."""
    return _asking(f"ask_for_ever({port})", clients)


def visitor(port: int, *, gap: float) -> AbstractContextManager[None]:
    """A process that asks every so many seconds, until the block ends."""
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
