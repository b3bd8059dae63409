"""The health endpoint for probes: whether what is due runs, in one status code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pseudocron.clock import monotonic
from pseudocron.config.settings import checked
from pseudocron.config.values import flag, optional, whole
from pseudocron.endpoints.responses import respond
from pseudocron.health_check import HealthReport, examine
from pseudocron.host import spawn
from pseudocron.process import process_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from pseudocron.process import Process
    from pseudocron.runtime import Runtime

ANSWER_WITHIN = 2.0
"""Maximum seconds that a probe waits for its response."""

ASK_AGAIN = 1.0
"""Seconds for which a result is used again, for any number of probes."""


def health(crons: object, *, failures: int | None = None, verbose: bool = False) -> ASGIApp:
    """Return an ASGI application that answers GET and HEAD with 200 if all is well and 503 if not, with JSON.

    Reasons for 503: the configuration has never been right in this process; the store can't be used, or does not answer
    within 2 seconds; a cron is overdue by more than its `tolerance`; so many threads continue after their runs that
    this process starts no further ones; a cron has failed `failures` times in a row. Each process asks the store at
    most once a second.

    Args:
        crons: The configuration, as the middleware takes it.
        failures: Number of failed runs of a cron in a row that lead to 503; by default none does, as a restart of the
            process would not help. The response names the crons that fail in any case.
        verbose: Whether the response contains the errors, which may name files, servers and processes.

    Raises:
        ConfigError: An option is wrong.
    """
    red = checked(optional(whole(1)), failures, "health: failures")
    return _Health(crons, failures=red, verbose=checked(flag, verbose, "health: verbose"))


class _Health:
    """The application: an object, as routers take a function for a view."""

    def __init__(self, crons: object, *, failures: int | None, verbose: bool) -> None:
        self._process = process_of(crons)
        self._failures = failures
        self._verbose = verbose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - that is how ASGI calls
        """Respond to one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http" and scope["method"] not in {"GET", "HEAD"}:
            await respond(send, 405, {"error": "must be GET or HEAD"}, allow="GET, HEAD")
        elif scope["type"] == "http":
            found = await _checks.setdefault(self._process.runtime(), _Check()).ask(self._process)
            values = found.as_json(failures=self._failures, verbose=self._verbose)
            await respond(send, 200 if values["healthy"] else 503, values, body=scope["method"] == "GET")


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
            self._task = spawn(examine(process, self._note))
        task = self._task
        # A check that does not end is neither cancelled nor started again: it may hold a thread.
        await asyncio.wait([task], timeout=ANSWER_WITHIN)
        return task.result() if task.done() else self._so_far

    def _note(self, so_far: HealthReport) -> None:
        self._so_far = so_far


_checks: WeakKeyDictionary[Runtime, _Check] = WeakKeyDictionary()
