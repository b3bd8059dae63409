"""Three hosts and a Redis as plain processes of this machine, until Ctrl-C."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("anna", "bert", "carl")
PORT = int(os.environ.get("PORT", "8001"))
REDIS_PORT = int(os.environ.get("REDIS_PORT", "6390"))
MISSING = """there is no redis-server on PATH. Install one, any of these will do:
  apt install redis-server, or valkey-server      brew install redis
  docker run --rm -p 6379:6379 redis              and name it: PSEUDOCRON_BACKEND=redis://localhost:6379/0"""


def redis(folder: str) -> list[str]:
    server = shutil.which("redis-server") or shutil.which("valkey-server") or sys.exit(MISSING)
    return [server, "--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes"]


def host(port: int) -> list[str]:
    serve = ["-m", "uvicorn", "application:app", "--app-dir", str(HERE), "--port", str(port), "--workers", "2"]
    return [sys.executable, *serve, "--log-level", "warning"]


def start(words: list[str], **environ: str) -> subprocess.Popen[bytes]:
    """A process in a group of its own, so that Ctrl-C reaches this script alone, which ends the hosts in order."""
    quiet = subprocess.DEVNULL if "--appendonly" in words else None
    return subprocess.Popen(words, env={**os.environ, **environ}, stdout=quiet, start_new_session=True)


def wait_for(server: subprocess.Popen[bytes]) -> None:
    """Until the Redis answers."""
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", REDIS_PORT)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"the Redis could not be started on port {REDIS_PORT}: name another one with REDIS_PORT")


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def main() -> None:
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with ExitStack() as stack:
        store = os.environ.get("PSEUDOCRON_BACKEND")
        if store is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            server = start(redis(folder))
            stack.callback(end, server)
            wait_for(server)
            store = f"redis://127.0.0.1:{REDIS_PORT}/0"
        for port, name in enumerate(NAMES, PORT):
            stack.callback(end, start(host(port), NAME=name, PSEUDOCRON_BACKEND=store, PSEUDOCRON_APP="shop"))
            print(f"{name}: http://127.0.0.1:{port}", flush=True)
        over.wait()


if __name__ == "__main__":
    main()
