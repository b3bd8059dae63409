"""What a request costs a WSGI application in process, against the same one behind a middleware that does nothing."""

from __future__ import annotations

import gc
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

from flask import Flask

from benchmarks.measuring import Row, ratios, show, side_by_side, spread
from pseudocron import background
from pseudocron.wsgi import PseudoCronMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

ROUNDS = 60
PAUSE = 0.003
"""Seconds before each round, in which a poll behind an earlier one comes to its end."""
GOAL, MUST = 1.0, 1.05
ENVIRON: dict[str, Any] = {}
setup_testing_defaults(ENVIRON)

flask = Flask(__name__)
flask.get("/")(lambda: "hello")


class Nothing:
    """The least that a WSGI middleware can be, as it is usually written."""

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Hand the request on."""
        return self.app(environ, start_response)


def hello(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer as the smallest application does."""
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def _start_response(_status: str, _headers: list[tuple[str, str]], _error: object = None) -> None:
    return


def requests(app: App, count: int) -> float:
    """How many nanoseconds a request takes, of very many, each with an environ of its own as servers make it."""
    time.sleep(PAUSE)
    gc.collect()
    gc.disable()
    began = perf_counter()
    for _ in range(count):
        response = app(ENVIRON.copy(), _start_response)
        b"".join(response)
        if hasattr(response, "close"):
            response.close()
    taken = perf_counter() - began
    gc.enable()
    return taken / count * 1e9


def _measure(name: str, app: App, count: int, crons: Path, must: float | None) -> Row:
    """Measure while the scheduling is open and reads its gate once a second, as it does in a server."""
    ours = PseudoCronMiddleware(app, crons=str(crons))
    apps: dict[str, App] = {"ours": ours, "nothing": Nothing(app), "nothing again": Nothing(app)}
    figures = side_by_side({arm: partial(requests, app, count) for arm, app in apps.items()}, rounds=ROUNDS)
    against = ratios(figures["ours"], figures["nothing"])
    noise = ratios(figures["nothing again"], figures["nothing"])
    more = median(figures["ours"]) - median(figures["nothing"])
    return Row(
        what=f"a request in process, against a no-op middleware of WSGI; the application is {name}",
        goal="" if must is None else f"{GOAL:.2f}, must {must:.2f}",
        measured=f"{spread(against)} of {median(figures['nothing']):.0f} ns, {more:+.0f} ns; A/A {spread(noise)}",
        met=None if must is None else median(against) <= must,
    )


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        crons = Path(folder) / "crons.py"
        crons.write_text('crons = {"nightly": (print, "0 2 * * *")}', encoding="utf-8")
        rows = [
            _measure("of Flask", flask.wsgi_app, 500, crons, MUST),
            _measure("the smallest possible", hello, 20_000, crons, None),
        ]
        background.close()
        return rows


if __name__ == "__main__":
    show(measure())
