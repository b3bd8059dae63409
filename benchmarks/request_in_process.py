"""What a request costs in process, against the same application behind a middleware that does nothing."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import Row, ratios, show, side_by_side, spread
from pseudocron import PseudoCronMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = 20_000
ROUNDS = 60
PAUSE = 0.003
"""Seconds before each round, in which a poll behind an earlier one comes to its end."""
GOAL, MUST = 1.0, 1.05
SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": []}


class Nothing:
    """The least that a pure-ASGI middleware can be, as it is usually written."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        await self.app(scope, receive, send)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at no cost, as that makes the cost of every middleware show most."""


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer as the smallest application does."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_message: Message) -> None:
    return


async def close(ours: PseudoCronMiddleware) -> None:
    """End what the middleware has opened."""
    await ours._process.runtime().close()  # noqa: SLF001 - there is no lifespan here that would


async def requests(app: ASGIApp) -> float:
    """How many nanoseconds a request takes, of very many."""
    await asyncio.sleep(PAUSE)
    gc.collect()
    gc.disable()
    began = perf_counter()
    for _ in range(REQUESTS):
        await app(SCOPE, _receive, _send)
    taken = perf_counter() - began
    gc.enable()
    return taken / REQUESTS * 1e9


def _measure(app: ASGIApp, crons: Path) -> Row:
    """Measure while the scheduling is open and reads its gate once a second, as it does in a server."""
    ours = PseudoCronMiddleware(app, crons=str(crons))
    with asyncio.Runner() as runner:

        def arm(middleware: ASGIApp) -> Callable[[], float]:
            return lambda: runner.run(requests(middleware))

        arms = {"ours": arm(ours), "nothing": arm(Nothing(app)), "nothing again": arm(Nothing(app))}
        figures = side_by_side(arms, rounds=ROUNDS)
        runner.run(close(ours))
    against = ratios(figures["ours"], figures["nothing"])
    noise = ratios(figures["nothing again"], figures["nothing"])
    return Row(
        what=f"a request in process, against a no-op middleware; the application is `{app.__name__}`",
        goal=f"{GOAL:.2f}, must {MUST:.2f}",
        measured=f"{spread(against)} of {median(figures['nothing']):.0f} ns; A/A {spread(noise)}",
        met=median(against) <= MUST,
    )


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        crons = Path(folder) / "crons.py"
        crons.write_text('crons = {"nightly": (print, "0 2 * * *")}', encoding="utf-8")
        return [_measure(app, crons) for app in (silent, hello)]


if __name__ == "__main__":
    show(measure())
