"""One configuration is one store: by object, path and import string, from any folder, in every process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from backends.using import opened
from support import environ_with, wait_until

from harness.ports import free_port
from pseudocron.backends.model import Kind, Run, State
from pseudocron.backends.questions import Where

if TYPE_CHECKING:
    from collections.abc import Sequence

CRONS = """
from pseudocron import Crons

crons = Crons()
crons.add("report", "shop.jobs:report", 86_400, executor="process")

@crons.task
def mail(): pass
"""
JOBS = """
from pathlib import Path
from pseudocron import current_run
from shop.crons import mail

def report():
    with Path(__file__).with_name("reports").open("a") as file:
        print(current_run().slot, file=file)
    mail.defer_sync()
"""
APP = """
import logging
from pseudocron import PseudoCronMiddleware
from shop.crons import crons

logging.basicConfig(level="INFO")

async def hello(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})

app = PseudoCronMiddleware(hello, crons=crons)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "srv" / "shop"
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (folder / "crons.py").write_text(CRONS)
    (folder / "jobs.py").write_text(JOBS)
    (folder / "app.py").write_text(APP)
    return folder


def start(folder: Path, shop: Path, *argv: str) -> subprocess.Popen[bytes]:
    with (shop / argv[0]).open("wb") as log:
        command = [sys.executable, "-m", *argv]
        return subprocess.Popen(
            command, cwd=folder, env=environ_with(shop.parent), stdout=log, stderr=subprocess.STDOUT
        )


def ended(folder: Path, shop: Path, *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pseudocron", *argv],
        cwd=folder,
        env=environ_with(shop.parent),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def runs(shop: Path) -> Sequence[Run]:
    async def read() -> Sequence[Run]:
        async with opened("file:.pseudocron", folder=shop) as backend:
            return await backend.runs(Where(), 100)

    return asyncio.run(read())


def visit(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_every_way_to_a_configuration_from_every_folder_is_one_store(shop: Path, tmp_path: Path) -> None:
    port, elsewhere = free_port(), tmp_path / "elsewhere"
    logs = [shop / "uvicorn", shop / "pseudocron"]
    going = [
        start(elsewhere, shop, "uvicorn", "shop.app:app", "--port", str(port)),
        start(shop.parent, shop, "pseudocron", "work", "--crons", "shop.crons:crons"),
    ]
    try:
        ended(shop, shop, "tick")
        ended(shop.parent, shop, "tick", "--crons", "shop/crons.py")
        ended(elsewhere, shop, "tick", "--crons", "shop.crons:crons")
        (seen,) = json.loads(ended(elsewhere, shop, "list", "--json", "--crons", str(shop / "crons.py")))
        wait_until(lambda: visit(port), 20)
        wait_until(lambda: all(f"store file:{shop}/.pseudocron" in log.read_text() for log in logs), 20)
        wait_until(lambda: any(run.kind is Kind.JOB and run.state is State.SUCCEEDED for run in runs(shop)), 5)
    finally:
        for process in going:
            process.terminate()
            process.wait(20)
    assert seen["runs"] == 1
    assert len((shop / "reports").read_text().splitlines()) == 1
    assert sorted(run.kind for run in runs(shop)) == [Kind.JOB, Kind.SLOT]
    assert [*tmp_path.rglob(".pseudocron")] == [shop / ".pseudocron"]
