"""What a request costs in process with all instrumentation on, against the same middleware without any."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import nullcontext
from statistics import median
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from benchmarks.measuring import Row, ratios, show, side_by_side, spread
from benchmarks.request_in_process import ROUNDS, close, hello, requests, silent
from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.hooks import EventKind
from pseudocron.instrumentation import opentelemetry, prometheus, sentry

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

GOAL, MUST = 1.0, 1.05


def _nightly(folder: str, ping: str | None = None) -> Crons:
    crons = Crons(backend=f"file:{folder}")
    crons.add("nightly", print, "0 2 * * *", ping=ping)
    return crons


def _instrumented(folder: str) -> Crons:
    crons = _nightly(folder, "http://127.0.0.1:9/check")
    prometheus.instrument(crons, registry=CollectorRegistry())
    opentelemetry.instrument(crons, tracer_provider=TracerProvider())
    sentry.instrument(crons)
    crons.middleware(nullcontext)
    for kind in EventKind:
        crons.on(kind)(str)
    return crons


def _measure(app: ASGIApp, folder: str) -> Row:
    """Both have their scheduling open and read their gates once a second, as in a server."""
    ours = {
        "on": PseudoCronMiddleware(app, crons=_instrumented(f"{folder}/on")),
        "off": PseudoCronMiddleware(app, crons=_nightly(f"{folder}/off")),
        "off again": PseudoCronMiddleware(app, crons=_nightly(f"{folder}/again")),
    }
    with asyncio.Runner() as runner:

        def arm(middleware: ASGIApp) -> Callable[[], float]:
            return lambda: runner.run(requests(middleware))

        figures = side_by_side({name: arm(one) for name, one in ours.items()}, rounds=ROUNDS)
        for middleware in ours.values():
            runner.run(close(middleware))
    against = ratios(figures["on"], figures["off"])
    noise = ratios(figures["off again"], figures["off"])
    return Row(
        what=f"a request in process with all instrumentation on, against off; the application is `{app.__name__}`",
        goal=f"{GOAL:.2f}, must {MUST:.2f}",
        measured=f"{spread(against)} of {median(figures['off']):.0f} ns; A/A {spread(noise)}",
        met=median(against) <= MUST,
    )


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    rows = []
    for app in (silent, hello):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_measure(app, folder))
    return rows


if __name__ == "__main__":
    show(measure())
