"""The other servers that people use: seen as ASGI 3, opened, drained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import wait_until

from pseudocron.backends.model import State
from pseudocron.server_grace import Grace, server_grace
from servers.serving import Server
from servers.test_uvicorn import runs_in

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["hypercorn", "granian"])
def test_it_runs_behind_a_visit_and_is_drained(name: str, tmp_path: Path) -> None:
    server = Server(tmp_path, '{"each": ("jobs:on_the_loop", 3600), "drained": ("jobs:until_told", 3600)}')
    argv = {
        "hypercorn": ["app:app", "--bind", f"127.0.0.1:{server.port}"],
        "granian": ["--interface", "asgi", "--port", str(server.port), "app:app"],
    }
    with server.start(name, *argv[name]):
        wait_until(lambda: server.notes("each") and server.notes("drained"), 5)
        (tmp_path / "end").touch()
        server.stop()
    assert server.notes("drained") == ["begins", "ends"]
    assert "Traceback" not in server.log


STUBBORN = """
async def stubborn():
    note("begins")
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass
"""


def test_a_run_is_recorded_before_gunicorn_kills_its_worker(tmp_path: Path) -> None:
    server = Server(tmp_path, '{"endless": ("jobs:until_told", 3600), "stubborn": ("jobs:stubborn", 3600)}')
    with (tmp_path / "jobs.py").open("a") as module:
        module.write(STUBBORN)
    argv = (
        "-k",
        "uvicorn_worker.UvicornWorker",
        "--graceful-timeout",
        "3",
        "-b",
        f"127.0.0.1:{server.port}",
        "app:app",
    )
    with server.start("gunicorn", *argv):
        wait_until(lambda: server.notes("endless") and server.notes("stubborn"), 10)
        server.stop()
    assert [run.state for run in runs_in(tmp_path)] == [State.INTERRUPTED] * 2
    words = "drain: 5 s do not fit into the 3 s that gunicorn gives a worker to end: runs have 0.5 s; "
    assert server.log.count(words + "set --graceful-timeout to at least 7.5, or a shorter drain") == 1


SERVES = """
class Serving:
    def __init__(self, **settings):
        self.cfg = self.config = type("Settings", (), settings)

    def serve(self, application):
        return application()
"""


@pytest.mark.parametrize(
    ("module", "settings", "grace"),
    [
        ("gunicorn.workers.gasgi", {"graceful_timeout": 3}, Grace(3, "gunicorn", "--graceful-timeout")),
        ("uvicorn_worker._workers", {"graceful_timeout": 30}, Grace(30, "gunicorn", "--graceful-timeout")),
        ("hypercorn.asyncio.lifespan", {"shutdown_timeout": 1.5}, Grace(1.5, "hypercorn", "shutdown_timeout")),
        ("hypercorn.asyncio.lifespan", {"shutdown_timeout": None}, None),
        ("uvicorn.server", {"timeout_graceful_shutdown": 3}, None),
        ("shop", {"graceful_timeout": 3}, None),
    ],
)
def test_the_grace_is_read_from_the_server_on_the_stack(
    module: str, settings: dict[str, object], grace: Grace | None
) -> None:
    names = {"__name__": module}
    exec(SERVES, names)  # noqa: S102 - a module of this name
    serving = names["Serving"](**settings)  # type: ignore[operator]
    assert serving.serve(server_grace) == grace


@pytest.mark.parametrize(("seconds", "allowed"), [(30, 5), (7.5, 5), (7, 4.5), (3, 0.5), (1, 0)])
def test_a_drain_leaves_time_to_record_its_ends(seconds: float, allowed: float) -> None:
    grace = Grace(seconds, "gunicorn", "--graceful-timeout")
    assert grace.allowed(5) == allowed
    assert (grace.advice(5) is None) == (allowed == 5)
