"""The door for uptime pingers and cloud schedulers: a URL that looks, for those who know its token."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from pseudocron.config.values import flag, from_zero
from pseudocron.endpoints.calls import call
from pseudocron.endpoints.limiter import Limiter
from pseudocron.endpoints.responses import not_found, reply
from pseudocron.errors import ConfigError, show
from pseudocron.lifespan import Lifespan
from pseudocron.log import logger
from pseudocron.process import process_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from pseudocron.config.values import Check
    from pseudocron.endpoints.calls import Called

SHORTEST = 16
"""Characters that a token has at least."""

MEND = "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"


def trigger(crons: object, *, token: str, get: bool = False, wait: float = 25) -> ASGIApp:
    """An ASGI application that looks when somebody who knows the token calls it.

    It goes through the same gate and the same claims as requests, the ticker and the commands do: a call while
    nothing is due runs nothing, and no slot runs twice. It answers JSON that tells what ran, and what was skipped and
    why: 200 when all of that is over, 202 while it goes on, 503 if nobody could look. Who does not know the token gets
    the 404 of a URL that is not there.

    Args:
        crons: The configuration, as the middleware takes it.
        token: What a caller must know, 16 printable ASCII characters or more; sent as `Authorization: Bearer TOKEN`, or
            as `?token=TOKEN`.
        get: Whether GET is answered too, for callers that can't POST.
        wait: Seconds after which an answer waits for runs no more; `?wait=` asks for less, `?wait=0` for an answer
            at once.

    Raises:
        ConfigError: The token is too short, or an option is wrong. The message does not show the token.
    """
    _check_token(token)
    methods = {"POST", "GET"} if _checked("get", flag, get) else {"POST"}
    return _Trigger(crons, sha256(token.encode()).digest(), methods, _checked("wait", from_zero, wait))


class _Trigger:
    """The application; of the token it knows no more than a digest."""

    def __init__(self, crons: object, digest: bytes, methods: set[str], wait: float) -> None:
        self._process = process_of(crons)
        self._digest = digest
        self._methods = methods
        self._wait = wait
        self._limiter = Limiter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; served by itself, without an application around it, it drains at the shutdown."""
        if scope["type"] == "lifespan":
            await Lifespan(_no_lifespan, self._process.runtime(), ticker=False)(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked, token = _query(scope).get("wait"), _take_token(scope)
        if not self._may_call(scope, token):
            await not_found(scope, receive, send)
            return
        try:
            wait = self._wait if asked is None else min(self._wait, from_zero(float(asked)))
        except ValueError:
            await reply(send, 400, {"error": f"wait: {show(asked)}: must be a number of seconds of 0 or more"})
            return
        called = await call(self._process.runtime(), wait)
        await reply(send, _status(called), called.as_json())

    def _may_call(self, scope: Scope, token: bytes | None) -> bool:
        """Whether the token is right, and the method; who guesses too often is not heard for a while."""
        address = str((scope.get("client") or ("unknown",))[0])
        if token is None or self._limiter.blocks(address):
            return False
        if not compare_digest(sha256(token).digest(), self._digest):
            if self._limiter.failed(address):
                logger.warning("trigger: too many wrong tokens from %s, who is not heard for a minute", show(address))
            return False
        return scope["method"] in self._methods


def _take_token(scope: Scope) -> bytes | None:
    """The token of a request, which is blotted out in its query: servers write that into their logs."""
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
    said = scope.get("query_string", b"").decode("latin-1")
    try:
        return dict(parse_qsl(said, keep_blank_values=True, max_num_fields=100, encoding="latin-1"))
    except ValueError:
        return {}


def _status(called: Called) -> int:
    if called.troubled:
        return 503
    return 200 if called.over else 202


async def _no_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that leaves the lifespan to us."""


def _check_token(token: object) -> None:
    if not isinstance(token, str):
        raise ConfigError(f"trigger: token: is of type {type(token).__name__}, must be text: {MEND}")
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(f"trigger: token: must be printable ASCII characters without spaces: {MEND}")
    if len(token) < SHORTEST:
        raise ConfigError(f"trigger: token: has {len(token)} characters, must have {SHORTEST} or more: {MEND}")


def _checked(name: str, check: Check, value: object) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise ConfigError(f"trigger: {name}: {show(value)}: {error}") from None
