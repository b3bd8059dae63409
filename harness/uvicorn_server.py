"""uvicorn in processes of its own, and connections to it that are kept alive."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from harness.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]
REQUEST = b"GET %s HTTP/1.1\r\nhost: bench\r\n\r\n"
START_WITHIN = 30.0
"""Seconds."""


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
        """Return the body of the response; those measured here come in one piece."""
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
        self.port = free_port()
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
