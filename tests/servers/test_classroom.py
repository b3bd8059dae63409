"""The example keeps its promise: the network comes back, whoever is killed in between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

from support import wait_until

from servers.serving import Server

CLASSROOM = Path(__file__).parents[2] / "examples" / "classroom"


def post(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path)
        return connection.getresponse().status
    finally:
        connection.close()


def open_classroom(folder: Path) -> Server:
    server = Server(folder, "{}")
    shutil.copytree(CLASSROOM, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".pseudocron", "switched-off"))
    return server.start("uvicorn", "classroom:app", "--port", str(server.port), "--workers", "2")


def test_only_the_last_request_of_a_teacher_counts_and_no_visitor_is_needed(tmp_path: Path) -> None:
    off = tmp_path / "switched-off" / "B-204"
    with open_classroom(tmp_path) as server:
        assert post(server.port, "/anna/B-204/off?minutes=0.02") == 303
        asked = time.monotonic()
        assert post(server.port, "/anna/B-204/off?minutes=0.03") == 303
        assert off.exists()
        wait_until(lambda: not off.exists(), 5)
        assert 1.8 <= time.monotonic() - asked < 3.6, "the first one counted, or a visitor was needed"
        server.stop()
    assert server.log.count("restore_network: job") == 1


def test_the_network_comes_back_by_the_crontab_after_a_kill(tmp_path: Path) -> None:
    off = tmp_path / "switched-off" / "B-204"
    with open_classroom(tmp_path) as server:
        assert post(server.port, "/anna/B-204/off?minutes=0.02") == 303
        for worker in server.workers():
            os.kill(worker, signal.SIGKILL)
        server.stop(signal.SIGKILL)
    assert off.exists()

    def tick() -> bool:
        argv = [sys.executable, "-m", "pseudocron", "tick", "--crons", "network:crons"]
        subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        return not off.exists()

    wait_until(tick, 10)
