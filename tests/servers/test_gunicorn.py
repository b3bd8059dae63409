"""gunicorn's own workers with WSGI applications: polls after the fork, each slot once, drained, restarted."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from support import LONG, wait_until

from harness.process_tree import children
from pseudocron.backends.model import State
from servers.serving import Server, Visitors
from servers.test_uvicorn import runs_in

if TYPE_CHECKING:
    from pathlib import Path

ONLY_LONG = pytest.mark.skipif(not LONG, reason="LONG=1 runs it")

PLAIN = """
from pseudocron.wsgi import PseudoCronMiddleware

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""
FLASK = """
from flask import Flask
from pseudocron.wsgi import PseudoCronMiddleware

app = Flask(__name__)
app.get("/")(lambda: "hello")
"""
BOTTLE = """
import bottle
from pseudocron.wsgi import PseudoCronMiddleware

app = bottle.Bottle()
app.get("/")(lambda: "hello")
"""
DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from pseudocron.wsgi import PseudoCronMiddleware

urlpatterns = [path("", lambda request: HttpResponse("hello"))]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of a test")
app = get_wsgi_application()
"""
IMPORTED = """
from pseudocron.wsgi import PseudoCronMiddleware
"""
WRAPPED = """
app = PseudoCronMiddleware(app, crons="crons.py"{options})
"""
INSIDE = """
app.wsgi_app = PseudoCronMiddleware(app.wsgi_app, crons="crons.py"{options})
"""
WHO = """
def who():
    note(f"{current_run().slot.isoformat()} {os.getpid()}")
"""


def served(folder: Path, crons: str, *argv: str, app: str = PLAIN + WRAPPED, options: str = "") -> Server:
    server = Server(folder, crons)
    (folder / "app.py").write_text(app.replace("{options}", options))
    with (folder / "jobs.py").open("a") as module:
        module.write(WHO)
    return server.start("gunicorn", "-b", f"127.0.0.1:{server.port}", *argv, "app:app")


@pytest.mark.parametrize(
    "app", [FLASK + INSIDE, DJANGO + WRAPPED, pytest.param(BOTTLE + WRAPPED, marks=ONLY_LONG)], ids=range(3)
)
def test_each_kind_of_cron_runs_behind_a_visit(app: str, tmp_path: Path) -> None:
    crons = '{"async": ("jobs:on_the_loop", 3600), "sync": ("jobs:in_a_thread", 3600), "script": ("script.py", 3600)}'
    with served(tmp_path, crons, app=app) as server:
        wait_until(lambda: all(map(server.notes, ("async", "sync", "script"))), 10)
        server.stop()
    assert [run.state for run in runs_in(tmp_path)] == [State.SUCCEEDED] * 3
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    "argv",
    [("-k", "gthread", "--threads", "4"), ("--preload",), pytest.param(("-k", "sync"), marks=ONLY_LONG)],
    ids=["gthread", "preload", "sync"],
)
def test_two_workers_run_each_slot_once_and_a_killed_one_is_replaced(argv: tuple[str, ...], tmp_path: Path) -> None:
    def runners() -> set[int]:
        return {int(line.split()[1]) for line in server.notes("often")}

    with served(tmp_path, '{"often": ("jobs:who", 0.1)}', "-w", "2", *argv) as server, Visitors(server):
        wait_until(lambda: len(runners()) == 2, 20)
        assert runners() == set(children(server.process.pid)), "a thread was started before the fork"
        os.kill(victim := min(runners()), signal.SIGKILL)
        wait_until(lambda: len(runners() - {victim}) == 2, 20)
    slots = [line.split()[0] for line in server.notes("often")]
    assert len(set(slots)) == len(slots)
    assert "Traceback" not in server.log


@pytest.mark.parametrize(("kind", "number"), [("sync", signal.SIGTERM), ("gthread", signal.SIGINT)])
def test_a_run_is_drained_when_the_server_ends(kind: str, number: int, tmp_path: Path) -> None:
    with served(tmp_path, '{"drained": ("jobs:until_told", 3600)}', "-k", kind) as server:
        wait_until(lambda: server.notes("drained"), 10)
        server.process.send_signal(number)
        wait_until(lambda: "Worker exiting" in server.log, 10)
        (tmp_path / "end").touch()
        server.process.wait(30)
    assert server.notes("drained") == ["begins", "ends"]
    assert [run.state for run in runs_in(tmp_path)] == [State.SUCCEEDED]
    assert "Traceback" not in server.log


def test_a_run_that_does_not_end_is_recorded_before_the_worker_is_killed(tmp_path: Path) -> None:
    crons = '{"endless": ("jobs:until_told", 3600)}'
    with served(tmp_path, crons, "--graceful-timeout", "3") as server:
        wait_until(lambda: server.notes("endless"), 10)
        server.stop()
    assert [run.state for run in runs_in(tmp_path)] == [State.INTERRUPTED]
    assert "drain: 5 s do not fit into the 3 s that gunicorn gives a worker to end" in server.log


def test_a_ticker_goes_on_without_further_requests(tmp_path: Path) -> None:
    with served(tmp_path, '{"often": ("jobs:who", 0.1)}', options=", ticker=True") as server:
        wait_until(lambda: len(server.notes("often")) >= 10, 10)


def test_a_worker_that_is_hooked_polls_without_a_request(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("def post_worker_init(worker):\n    worker.wsgi.start()\n")
    server = served(tmp_path, '{"each": ("jobs:who", 3600)}', "--preload")
    try:
        wait_until(lambda: server.notes("each"), 10)
    finally:
        server.stop()
    assert "Traceback" not in server.log


def test_a_framework_object_of_asgi_is_refused_in_one_line(tmp_path: Path) -> None:
    app = "from starlette.applications import Starlette\napp = Starlette()\n" + IMPORTED
    server = served(tmp_path, "{}", app=app + WRAPPED)
    server.process.wait(30)
    assert "is an ASGI application, must be WSGI: import the middleware from pseudocron instead" in server.log
