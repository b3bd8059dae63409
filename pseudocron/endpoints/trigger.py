"""The trigger URL: an endpoint that polls, for uptime pingers and cloud schedulers that know its token."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from pseudocron.config.values import flag, from_zero
from pseudocron.endpoints.access_logs import mask
from pseudocron.endpoints.failures import FailureCounter
from pseudocron.endpoints.responses import not_found, respond
from pseudocron.errors import ConfigError, show
from pseudocron.lifespan import Lifespan
from pseudocron.log import logger
from pseudocron.polling import NoPoll, PollReason
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from pseudocron.backends.model import State
    from pseudocron.config.values import Check
    from pseudocron.polling import Report
    from pseudocron.runtime import Runtime
    from pseudocron.worker.run import Run

SHORTEST = 16
"""Minimum number of characters of a token."""

FIX = "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"

FAILURES = frozenset({NoPoll.BAD_CONFIG, NoPoll.BACKEND_DOWN, NoPoll.ERROR, NoPoll.CLOSED})
"""The reasons for which a poll that should have happened did not."""


def trigger(crons: object, *, token: str, get: bool = True, wait: float = 25) -> ASGIApp:
    """Return an ASGI application that polls when it is called with the token.

    A call goes through the same gate and the same claims as requests, the ticker and the commands do: while nothing is
    due it runs nothing, and no slot runs twice. The response is JSON with what ran, and with what was skipped and why.
    Its status is 200 when all of that has ended, 202 while something continues, and 503 if the poll failed. Without
    the token the response is the 404 of a URL that does not exist.

    Args:
        crons: The configuration, as the middleware takes it.
        token: At least 16 printable ASCII characters; a caller sends it as `Authorization: Bearer TOKEN`, or as
            `?token=TOKEN`.
        get: Whether GET is accepted too, for callers that can't POST. HEAD then answers without a poll.
        wait: Maximum seconds that a response waits for runs; `?wait=` asks for less, `?wait=0` for a response at once.

    Raises:
        ConfigError: The token is too short, or an option is wrong. The message does not show the token.
    """
    _check_token(token)
    methods = {"POST", "GET", "HEAD"} if _checked("get", flag, get) else {"POST"}
    endpoint = _Trigger(crons, sha256(token.encode()).digest(), methods, _checked("wait", from_zero, wait))
    mask(endpoint.digest)
    return endpoint


class _Trigger:
    """The application; it keeps only a digest of the token."""

    def __init__(self, crons: object, digest: bytes, methods: set[str], wait: float) -> None:
        self._process = process_of(crons)
        self.digest = digest
        self._methods = methods
        self._wait = wait
        self._failures = FailureCounter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request; as an application of its own, drain the runs at shutdown."""
        if scope["type"] == "lifespan":
            await Lifespan(_no_lifespan, self._process.runtime(), ticker=False)(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked, token = _query(scope).get("wait"), _take_token(scope)
        if not self._may_call(scope, token):
            await not_found(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await respond(send, 200, {}, body=False)
            return
        try:
            wait = self._wait if asked is None else min(self._wait, from_zero(float(asked)))
        except ValueError:
            await respond(send, 400, {"error": f"wait: {show(asked)}: must be a number of seconds of 0 or more"})
            return
        report = await _poll(self._process.runtime(), wait)
        await respond(send, report.status, report.as_json())

    def _may_call(self, scope: Scope, token: bytes | None) -> bool:
        """Return whether token and method are right; many wrong tokens from one network are logged."""
        if token is None:
            return False
        # First of all: callers may share an address, and the right token must not be refused because of wrong ones.
        if compare_digest(sha256(token).digest(), self.digest):
            return scope["method"] in self._methods
        address = str((scope.get("client") or ("unknown",))[0])
        if network := self._failures.failed(address):
            logger.warning("trigger: many wrong tokens within a minute from %s", show(network))
        return False


@dataclass(slots=True)
class TriggerReport:
    """What a call of the trigger URL has started and skipped, as far as it is known.

    Args:
        polls: Results of the polls; a poll that has left something, for lack of capacity, is followed by another.
        why: Why there was no poll, or no further one; None if there is no such reason.
        jobs: Number of attempts of jobs that have ended in this process since the call, by the states of their jobs;
            None for results that came after their lease.
        over: Whether the polls have ended, and all runs that have started in this process since the call.
    """

    polls: list[Report] = field(default_factory=list)
    why: NoPoll | None = None
    jobs: Counter[State | None] = field(default_factory=Counter)
    over: bool = False

    @property
    def status(self) -> int:
        """The HTTP status of the response."""
        if self.why in FAILURES:
            return 503
        return 200 if self.over else 202

    def add(self, result: Report | NoPoll) -> None:
        """Add the result of one poll."""
        if not isinstance(result, NoPoll):
            self.polls.append(result)
        elif not self.polls or result in FAILURES:
            self.why = result

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values; instants are ISO text in UTC."""
        return {
            "polled": bool(self.polls),
            "why": self.why,
            "over": self.over,
            "ran": [_ran(run) for poll in self.polls for run in poll.started if not run.is_job],
            "skipped": [skip for poll in self.polls for skip in _skipped(poll)],
            "jobs": {state or "too_late": count for state, count in self.jobs.items()},
        }


async def _poll(runtime: Runtime, seconds: float) -> TriggerReport:
    """Request a poll, and wait for what it starts, at most for some seconds; with 0 it continues in the background."""
    report = TriggerReport()
    runs, jobs = runtime.runs, runtime.jobs_ended.copy()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for result in _results(runtime):
                report.add(result)
            if begun := runtime.runs - runs:
                await asyncio.wait(begun)
            report.over = True
    report.jobs = runtime.jobs_ended - jobs
    return report


async def _results(runtime: Runtime) -> AsyncIterator[Report | NoPoll]:
    """Yield the result of a poll, and of the polls that follow when runs free capacity for what the first has left."""
    polling = runtime.request_poll(PollReason.URL)
    while True:
        await asyncio.wait([polling])
        polled = polling.result()
        following = runtime.polls.next()
        yield polled.came_of_it
        if not _leaves_something(polled.came_of_it) or not runtime.runs:
            return
        polling = following


def _leaves_something(result: Report | NoPoll) -> bool:
    """Return whether another poll follows when runs of this process have ended."""
    return result is NoPoll.NO_CAPACITY if isinstance(result, NoPoll) else result.left


def _ran(run: Run) -> dict[str, Any]:
    claim = run.claim
    return {
        "name": claim.name,
        "slot": (claim.slot or claim.due).isoformat(),
        "started": claim.started.isoformat(),
        "outcome": _outcome(run),
    }


def _outcome(run: Run) -> State | None:
    """Return how the attempt ended; None while it continues, or if its result could not be recorded."""
    return run.end.outcome if run.is_over and run.end is not None else None


def _skipped(poll: Report) -> Iterator[dict[str, Any]]:
    for skip in poll.skips:
        yield {"name": skip.name, "slot": skip.slot.isoformat(), "slots": skip.slots, "reason": skip.reason}
    for refused in poll.refused:
        yield {"name": refused.name, "slot": refused.slot.isoformat(), "slots": 1, "reason": refused.why}


def _take_token(scope: Scope) -> bytes | None:
    """Return the token of a request, and mask it in the query, which servers write into their logs."""
    query = _query(scope)
    in_query = query.get("token")
    shown = {name: "***" if name == "token" else value for name, value in query.items() if name in {"token", "wait"}}
    scope["query_string"] = urlencode(shown, safe="*", encoding="latin-1").encode()
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            scheme, _, token = value.partition(b" ")
            return bytes(token.strip()) if scheme.lower() == b"bearer" else None
    return None if in_query is None else in_query.encode("latin-1")


def _query(scope: Scope) -> dict[str, str]:
    text = scope.get("query_string", b"").decode("latin-1")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100, encoding="latin-1"))
    except ValueError:
        return {}


async def _no_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Do nothing: an application without a lifespan of its own."""


def _check_token(token: object) -> None:
    if not isinstance(token, str):
        raise ConfigError(f"trigger: token: is of type {type(token).__name__}, must be text: {FIX}")
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(f"trigger: token: must be printable ASCII characters without spaces: {FIX}")
    if len(token) < SHORTEST:
        raise ConfigError(f"trigger: token: has {len(token)} characters, must have {SHORTEST} or more: {FIX}")


def _checked(name: str, check: Check, value: object) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise ConfigError(f"trigger: {name}: {show(value)}: {error}") from None
