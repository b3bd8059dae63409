"""What the middleware adds to the private memory of a uvicorn worker: a file store, and one poll that is over."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.measuring import Row, show, side_by_side, spread
from harness.uvicorn_server import Connection, Uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9
GOAL = 4.5
"""MiB."""
POLLED_WITHIN, SETTLED_AFTER = 30.0, 0.5
"""Seconds."""

BARE = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""
OURS = f"""
import redis_or_not
from pseudocron import PseudoCronMiddleware
{BARE}
app = PseudoCronMiddleware(app, crons="crons.py")
"""
CRONS = """
from pseudocron import Crons

crons = Crons()

@crons.every("day at 02:00")
def report():
    pass
"""
WITH_REDIS = "import importlib.util\nassert importlib.util.find_spec('redis')"
WITHOUT_REDIS = "import sys\nsys.modules['redis'] = None"
"""To import it then fails as it does where it is not installed."""


def _private(pid: int) -> float:
    """MiB that no other process shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def _worker(app: str, *, redis: str = "", cache: str) -> Callable[[], float]:
    """Return the private memory of a worker that has answered a request, and polled if it does that."""

    def arm() -> float:
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for name, text in {"app": app, "crons": CRONS, "redis_or_not": redis}.items():
                (folder / f"{name}.py").write_text(text, encoding="utf-8")
            # The bytecode is there, as it is wherever a package is installed.
            environ = {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
            with Uvicorn("app:app", folder, environ=environ) as server:
                with closing(Connection(server.port)) as connection:
                    connection.get()
                if app == OURS:
                    _wait_for_a_poll(folder / ".pseudocron" / "cron.lock")
                time.sleep(SETTLED_AFTER)
                return _private(server.pid)

    return arm


def _wait_for_a_poll(gate: Path) -> None:
    end = time.monotonic() + POLLED_WITHIN
    while not (gate.exists() and gate.stat().st_mtime):
        if time.monotonic() > end:
            raise TimeoutError(gate)
        time.sleep(0.02)


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    with TemporaryDirectory() as cache:
        arms = {
            "bare": _worker(BARE, cache=cache),
            "`redis` installed": _worker(OURS, redis=WITH_REDIS, cache=cache),
            "no `redis` installed": _worker(OURS, redis=WITHOUT_REDIS, cache=cache),
        }
        for arm in arms.values():
            arm()  # writes the bytecode
        figures = side_by_side(arms, rounds=ROUNDS)
    bare = figures.pop("bare")
    return [_row(name, ours, bare) for name, ours in figures.items()]


def _row(name: str, ours: list[float], bare: list[float]) -> Row:
    added = [one - other for one, other in zip(ours, bare, strict=True)]
    return Row(
        what=f"private memory that the middleware adds to a uvicorn worker with a file store, one poll over; {name}",
        goal=f"{GOAL} MiB",
        measured=f"{spread(added, ' MiB')}, added to {median(bare):.1f} MiB",
        met=median(added) <= GOAL,
    )


if __name__ == "__main__":
    show(measure())
