"""The example does what its README says, without containers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis_server import binary, free_port
from support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parents[2] / "examples" / "distributed" / "three_hosts.py"
NAMES = ("anna", "bert", "carl")


def ports_in_a_row(count: int) -> int:
    """The first of some that are free."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


class Hosts:
    """The script, and what it has printed."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self._printed = folder / "printed"
        self.port = ports_in_a_row(len(NAMES))
        ports = {"PORT": str(self.port), "REDIS_PORT": str(free_port())}
        with self._printed.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, SCRIPT],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **ports, **environ},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def printed(self) -> str:
        return self._printed.read_text()

    def ask(self, method: str, path: str, host: int = 0) -> str:
        connection = HTTPConnection("127.0.0.1", self.port + host, timeout=10)
        try:
            connection.request(method, path)
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def path_with_redis(tmp_path: Path) -> str:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(binary())
    return os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])


@pytest.fixture
def hosts(tmp_path: Path, path_with_redis: str) -> Iterator[Hosts]:
    hosts = Hosts(tmp_path, PATH=path_with_redis)
    yield hosts
    if hosts.process.poll() is None:
        hosts.end()


def test_of_three_hosts_each_cron_runs_on_one_and_a_job_is_done_by_any(hosts: Hosts) -> None:
    wait_until(lambda: all(hosts.ask("GET", "/", host) for host in range(3)), 30)
    for host, name in enumerate(NAMES):
        assert f"this is {name}" in hosts.ask("GET", "/", host)
        assert hosts.ask("POST", f"/mail/{name}@example.org", host) == f"{name} will see to it\n"
    wait_until(lambda: hosts.printed.count("closed") >= 3, 10)
    wait_until(lambda: hosts.printed.count("sent") >= 3, 10)
    assert hosts.end() == 0
    closed = re.findall(r"orders up to (\S+) closed", hosts.printed)
    assert len(closed) == len(set(closed)), "a slot ran on two hosts"
    assert sorted(re.findall(r"mail to (\w+)@", hosts.printed)) == list(NAMES)
    assert "Traceback" not in hosts.printed


def test_without_a_redis_it_says_how_to_get_one(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, PATH=str(tmp_path))
    assert hosts.process.wait(30) == 1
    assert "apt install redis-server" in hosts.printed
