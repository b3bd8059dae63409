"""Who may see the dashboard: each of these is a callable over the request, as one of your own may be."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Collection
from dataclasses import dataclass, field
from hmac import compare_digest
from inspect import isawaitable
from typing import TYPE_CHECKING, TypeAlias

from pseudocron.dashboard.hosts import bare, hostname, is_loopback
from pseudocron.errors import ConfigError, show

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

Verdict: TypeAlias = object
"""True (or anything true) lets the request in; a `Response` is sent instead; anything else refuses with 403."""

Auth: TypeAlias = "Callable[[Request], Verdict | Awaitable[Verdict]]"
"""Decides over a request; if it is not async it must not block."""

SHORTEST = 16
"""Characters of a bearer token."""


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """A user and a password, which the browser asks for. Use it over HTTPS.

    Raises:
        ConfigError: One of them is empty or no text, or the user has a colon.
    """

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        for name, value in (("user", self.user), ("password", self.password)):
            if not _is_text(value):
                raise ConfigError(f"BasicAuth: {name}: must be text, and not empty")
        if ":" in self.user:
            raise ConfigError(f"BasicAuth: user: {show(self.user)}: must have no colon, which ends it in the header")

    def __call__(self, request: Request) -> Verdict:
        """Return True if the request names them, else a challenge, in a time that does not tell how much is right."""
        expected = f"{self.user}:{self.password}".encode()
        return compare_digest(_basic(request), expected) or _challenge('Basic realm="pseudocron", charset="UTF-8"')


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token in the header `Authorization: Bearer`, as a proxy in front of the application may set it.

    A token that is not ASCII is sent as UTF-8.

    Raises:
        ConfigError: It is no text, shorter than 16 characters, or can't be sent in a header.
    """

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _is_text(self.token, SHORTEST):
            raise ConfigError(f"BearerToken: token: must be text of at least {SHORTEST} characters")
        if not self.token.isprintable() or self.token != self.token.strip(" "):
            raise ConfigError("BearerToken: token: must be printable, without a space at its begin or end")

    def __call__(self, request: Request) -> Verdict:
        """Return True if the request has the token, else a challenge."""
        scheme, given = _credentials(request)
        right = compare_digest(given, self.token.encode())
        return (scheme == b"bearer" and right) or _challenge('Bearer realm="pseudocron"')


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAuth:
    """Every reader on this machine may see and do everything: for a laptop, or behind something that asks already.

    It answers only if the request names this machine as its host. A page of another site can let its own name lead to
    this machine (DNS rebinding), and would be one origin with the dashboard.

    Args:
        hosts: Further hosts that it answers as, without a port; `"*"` for any.

    Raises:
        ConfigError: `hosts` is no collection of host names.
    """

    hosts: Collection[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.hosts, str) or not isinstance(self.hosts, Collection):
            raise ConfigError(f"NoAuth: hosts: {show(self.hosts)}: must be a list of hosts, such as ['crons.lan']")
        for host in self.hosts:
            if not _is_text(host) or hostname(host) != bare(host):
                raise ConfigError(f"NoAuth: hosts: {show(host)}: must be a host without scheme and port, or '*'")

    def __call__(self, request: Request) -> Verdict:
        """Return True if the request names a host that is answered as, else a response that says how to allow it."""
        asked = request.headers.getlist("host")
        if "*" in self.hosts or (asked and all(map(self._answers, asked))):
            return True
        return _not_here(", ".join(asked))

    def _answers(self, host: str) -> bool:
        name = hostname(host)
        return name is not None and (is_loopback(name) or name in map(bare, self.hosts))


def check(auth: object) -> Auth:
    """Return the same object if it can decide over requests.

    Raises:
        ConfigError: It can't.
    """
    if isinstance(auth, type) or not callable(auth):
        choice = "BasicAuth(user, password), BearerToken(token), a callable over the request, or NoAuth()"
        raise ConfigError(f"dashboard: auth: {show(type(auth) if callable(auth) else auth)}: must be {choice}")
    return auth


async def refusal(auth: Auth, request: Request) -> Response | None:
    """Return what to answer instead of the page, or None if the request may have it."""
    from starlette.responses import PlainTextResponse, Response  # noqa: PLC0415 - nobody else needs them

    verdict = auth(request)
    if isawaitable(verdict):
        verdict = await verdict
    if isinstance(verdict, Response):
        return verdict
    return None if verdict else PlainTextResponse("Forbidden", status_code=403)


def _is_text(value: object, shortest: int = 1) -> bool:
    """Return whether a value is text that can be sent: the environment of a process may hold what is no UTF-8."""
    if not isinstance(value, str) or len(value) < shortest:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_here(host: str) -> Response:
    from starlette.responses import PlainTextResponse  # noqa: PLC0415 - nobody else needs it

    fix = "name it in NoAuth(hosts=[...]) if it is yours, or ask for a password by BasicAuth"
    return PlainTextResponse(f"NoAuth does not answer as the host {show(host)}: {fix}", status_code=403)


def _challenge(scheme: str) -> Response:
    from starlette.responses import PlainTextResponse  # noqa: PLC0415 - nobody else needs it

    return PlainTextResponse("Unauthorized", status_code=401, headers={"www-authenticate": scheme})


def _credentials(request: Request) -> tuple[bytes, bytes]:
    """Return the scheme in lower case and what follows it, as bytes: each scheme has its own characters."""
    scheme, _, given = request.headers.get("authorization", "").encode("latin-1").partition(b" ")
    return scheme.lower(), given.strip(b" \t")


def _basic(request: Request) -> bytes:
    """Return `user:password` as it was sent, or empty bytes if it can't be read."""
    scheme, given = _credentials(request)
    if scheme != b"basic":
        return b""
    try:
        return b64decode(given, validate=True)
    except ValueError:
        return b""
