"""The example does what its README says."""

from __future__ import annotations

import shutil
from http.client import HTTPConnection
from pathlib import Path

from support import wait_until

from servers.serving import Server

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


def page(port: int) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_visits_of_the_page_run_its_three_crons_and_it_shows_them(tmp_path: Path) -> None:
    server = Server(tmp_path, "{}")
    shutil.copytree(QUICKSTART, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".pseudocron"))
    with server.uvicorn("--workers", "2"):
        wait_until(lambda: page(server.port).count("<td>succeeded<td>") == 3, 5)
        server.stop()
    assert all(name in server.log for name in ("reminders: slot", "interest: slot", "callback: slot"))
