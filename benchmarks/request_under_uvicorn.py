"""What a request costs a uvicorn server in CPU, against the bare application."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measuring import Row, ratios, show, side_by_side, spread
from benchmarks.serving import Server
from harness.uvicorn_server import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

REQUESTS = 1500
ROUNDS = 24
GOAL = 1.03
ARMS = {"bare": "bare", "bare again": "bare", "ours": "app"}
CRONS = 'crons = {"nightly": ("builtins:print", "0 2 * * *")}'


def _microseconds(connection: Connection) -> Callable[[], float]:
    """Return the arm of one server: its CPU for each of a number of requests, as the server reports it."""

    def used() -> float:
        return float(connection.get("/usage").split()[0])

    def arm() -> float:
        before = used()
        for _ in range(REQUESTS):
            connection.get()
        return (used() - before) / REQUESTS * 1e6

    return arm


def measure() -> list[Row]:
    """Measure, and return the row of this benchmark."""
    with ExitStack() as stack:
        arms = {}
        for name, app in ARMS.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(Server(folder, app=app, crons=CRONS))
            arms[name] = _microseconds(Connection(server.port))
        side_by_side(arms, rounds=2)
        figures = side_by_side(arms, rounds=ROUNDS)
    against = ratios(figures["ours"], figures["bare"])
    noise = ratios(figures["bare again"], figures["bare"])
    return [
        Row(
            what="CPU of a request under uvicorn (h11), against the bare application",
            goal=f"{GOAL:.2f}",
            measured=f"{spread(against)} of {median(figures['bare']):.0f} us; A/A {spread(noise)}",
            met=median(against) <= GOAL,
        )
    ]


if __name__ == "__main__":
    show(measure())
