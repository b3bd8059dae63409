"""The Redis server that the tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from functools import cache
from pathlib import Path

from harness.ports import free_port
from harness.redis_server import FORGETFUL, Server, binary

__all__ = ["FORGETFUL", "Server", "binary", "free_port", "shared"]


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
