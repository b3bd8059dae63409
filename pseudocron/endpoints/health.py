"""The health endpoint for probes: whether what is due runs, in one status code."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pseudocron.backends.questions import Where
from pseudocron.clock import monotonic
from pseudocron.dataclass import dataclass
from pseudocron.endpoints.responses import respond
from pseudocron.errors import PseudoCronError, cause
from pseudocron.host import hop, spawn
from pseudocron.process import process_of
from pseudocron.worker.diagnostics import outlasting
from pseudocron.worker.due import overdue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from starlette.types import ASGIApp, Receive, Scope, Send

    from pseudocron.backends.model import CronState
    from pseudocron.crons import Crons
    from pseudocron.process import Process
    from pseudocron.runtime import Runtime
    from pseudocron.worker.due import Overdue

SHOWN = 20
"""Maximum number of overdue crons in a response."""

ANSWER_WITHIN = 2.0
"""Maximum seconds that a probe waits for its response."""

KEPT = 1000
"""How many runs are counted at most whose code continues after their end."""

ASK_AGAIN = 1.0
"""Seconds for which a result is used again, for any number of probes."""


def health(crons: object, *, verbose: bool = False) -> ASGIApp:
    """Return an ASGI application that answers GET and HEAD with 200 if all is well and 503 if not, with JSON.

    Reasons for 503: the configuration has never been right in this process; the store can't be used, or does not answer
    within 2 seconds; a cron is overdue by more than its `tolerance`; so many threads continue after their runs that
    this process starts no further ones. Each process asks the store at most once a second.

    Args:
        crons: The configuration, as the middleware takes it.
        verbose: Whether the response contains the errors, which may name files and servers.
    """
    return _Health(crons, verbose=verbose)


class _Health:
    """The application: an object, as routers take a function for a view."""

    def __init__(self, crons: object, *, verbose: bool) -> None:
        self._process = process_of(crons)
        self._verbose = verbose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - that is how ASGI calls
        """Respond to one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http" and scope["method"] not in {"GET", "HEAD"}:
            await respond(send, 405, {"error": "must be GET or HEAD"}, allow="GET, HEAD")
        elif scope["type"] == "http":
            found = await _checks.setdefault(self._process.runtime(), _Check()).ask(self._process)
            status = 200 if found.healthy else 503
            await respond(send, status, found.as_json(verbose=self._verbose), body=scope["method"] == "GET")


class Config(StrEnum):
    """State of the configuration."""

    OK = "ok"
    STALE = "stale"  # the latest edit is wrong, the last good configuration is used
    BROKEN = "broken"  # it has never been right in this process
    UNKNOWN = "unknown"  # it takes too long to read


class Store(StrEnum):
    """State of the store."""

    OK = "ok"
    DOWN = "down"  # it can't be used
    SLOW = "slow"  # it did not answer in time
    NOT_ASKED = "not_asked"  # the configuration is broken, or everything is switched off


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """Result of a health check.

    Args:
        config: State of the configuration.
        backend: State of the store.
        enabled: Whether anything may run at all.
        crons: Number of crons.
        overdue: Crons that are late by more than they tolerate, the latest first.
        lingering: Number of runs that have ended while their code continues, in all processes.
        stuck: Whether this process has so many of them that it starts no further threads.
        errors: What is wrong, each in one line that may name files and servers.
    """

    config: Config = Config.OK
    backend: Store = Store.OK
    enabled: bool = True
    crons: int = 0
    overdue: Sequence[Overdue] = ()
    lingering: int = 0
    stuck: bool = False
    errors: Sequence[str] = ()

    @property
    def healthy(self) -> bool:
        """Whether what is due runs, as far as that is known. A stale configuration runs."""
        well = self.config in {Config.OK, Config.STALE} and self.backend in {Store.OK, Store.NOT_ASKED}
        return well and not self.overdue and not self.stuck

    def as_json(self, *, verbose: bool) -> dict[str, Any]:
        """Return the report as JSON values; instants are ISO text in UTC, spans are seconds."""
        latest = [
            {
                "name": one.name,
                "slot": one.slot.isoformat(),
                "late": one.late.total_seconds(),
                "tolerance": one.tolerance.total_seconds(),
            }
            for one in self.overdue[:SHOWN]
        ]
        values: dict[str, Any] = {
            "healthy": self.healthy,
            "config": self.config,
            "backend": self.backend,
            "enabled": self.enabled,
            "crons": self.crons,
            "overdue": len(self.overdue),
            "latest": latest,
            "lingering": self.lingering,
            "stuck": self.stuck,
        }
        return values | {"errors": list(self.errors)} if verbose else values


class _Check:
    """The health checks of one event loop: one at a time, each used for a while."""

    def __init__(self) -> None:
        self._so_far = HealthReport()
        self._task: asyncio.Task[HealthReport] | None = None
        self._until = 0.0

    async def ask(self, process: Process) -> HealthReport:
        """Return what is known within `ANSWER_WITHIN`, at most `ASK_AGAIN` old."""
        now = monotonic()
        if self._task is None or (self._task.done() and now >= self._until):
            self._until = now + ASK_AGAIN
            self._task = spawn(self._check(process))
        task = self._task
        # A check that does not end is neither cancelled nor started again: it may hold a thread.
        await asyncio.wait([task], timeout=ANSWER_WITHIN)
        return task.result() if task.done() else self._so_far

    async def _check(self, process: Process) -> HealthReport:
        """Check the configuration and the store, and note at each step what is known so far."""
        self._so_far = HealthReport(config=Config.UNKNOWN, backend=Store.NOT_ASKED)
        try:
            crons, stale = await hop(process.reload), process.source.error
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing can run with it
            return HealthReport(config=Config.BROKEN, backend=Store.NOT_ASKED, errors=[_message(error)])
        known = HealthReport(
            config=Config.STALE if stale else Config.OK,
            backend=Store.NOT_ASKED,
            enabled=crons.settings.enabled,
            crons=len(crons),
            errors=[stale] if stale else [],
        )
        if not known.enabled:
            return known
        self._so_far = replace(known, backend=Store.SLOW)
        return await _ask_the_store(process, crons, known)


_checks: WeakKeyDictionary[Runtime, _Check] = WeakKeyDictionary()


async def _ask_the_store(process: Process, crons: Crons, known: HealthReport) -> HealthReport:
    try:
        async with process.opened(crons) as backend:
            states, lingering = await asyncio.gather(
                backend.states([cron.name for cron in crons]), backend.runs(Where(is_kept=True), KEPT)
            )
        late = await hop(_overdue, crons, states.crons, states.now)
        errors = [*known.errors, *outlasting(lingering, concurrency=crons.settings.concurrency)]
        return replace(
            known, backend=Store.OK, overdue=late, lingering=len(lingering), stuck=process.stuck, errors=errors
        )
    except Exception as error:  # noqa: BLE001 - as above
        return replace(known, backend=Store.DOWN, errors=[*known.errors, _message(error)])


def _overdue(crons: Crons, states: Mapping[str, CronState], now: datetime) -> list[Overdue]:
    pace = crons.settings.cron_max_time
    found = (overdue(crons[name], state, now, cron_max_time=pace) for name, state in states.items() if name in crons)
    return sorted(filter(None, found), key=attrgetter("late"), reverse=True)


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, PseudoCronError) else cause(error)
