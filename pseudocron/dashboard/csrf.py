"""That an action was asked for by a page of ours: where the request comes from, and a token only we could put there."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from pseudocron.dashboard.hosts import bare, hostname, is_loopback
from pseudocron.errors import ConfigError, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

COOKIE = "pseudocron_csrf"
FIELD = "csrf"
_TOKEN = re.compile(r"[\w-]{43}", re.ASCII)
_FORWARDED_HTTPS = re.compile(r"[^,]*\bproto=\"?https\b", re.IGNORECASE | re.ASCII)
_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """What a browser sends as `Origin`, in one spelling."""

    scheme: str
    host: str
    port: int


class Origins:
    """Where the pages of a dashboard are read: at the host that a request names, or at origins that are configured.

    Args:
        named: The configured origins, such as `https://crons.example`.

    Raises:
        ConfigError: One of them is no origin.
    """

    def __init__(self, named: object = ()) -> None:
        if isinstance(named, str) or not isinstance(named, Collection):
            raise ConfigError(f"dashboard: origins: {show(named)}: must be a list, such as ['https://crons.example']")
        self._named = frozenset(map(_configured, named))

    def has(self, request: Request) -> bool:
        """Return whether the request's headers name a page of ours as its origin. Without such headers it is refused.

        What the browser knows of the site counts first: a proxy may have changed the host that we see.
        """
        if site := request.headers.get("sec-fetch-site"):
            return site == "same-origin"
        origin = _origin(_claimed(request))
        return origin is not None and (origin in self._named or _is_at(origin, request.headers.get("host", "")))

    def are_secure(self, request: Request) -> bool:
        """Return whether the browser that sent the request uses HTTPS, though a proxy may have ended that.

        Any proxy may say so, trusted or not: whoever forges its header changes only a cookie of their own.
        """
        headers = request.headers
        if request.scope.get("scheme") == "https" or (
            self._named and all(one.scheme == "https" for one in self._named)
        ):
            return True
        if headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower() == "https":
            return True
        if _FORWARDED_HTTPS.match(headers.get("forwarded", "")):
            return True
        # Browsers send this header by HTTPS, and else only to the machine that they are on.
        return "sec-fetch-site" in headers and not _is_here(headers.get("host", ""))


def token(request: Request) -> str:
    """Return the reader's token, or a new one. It is not stored here, so that any process can check it."""
    known = request.cookies.get(COOKIE, "")
    return known if _TOKEN.fullmatch(known) else secrets.token_urlsafe(32)


def remember(response: Response, request: Request, path: str, value: str, origins: Origins) -> None:
    """Let the reader's browser keep the token, and send it along only from our own pages."""
    if request.cookies.get(COOKIE) != value:
        secure = origins.are_secure(request)
        response.set_cookie(COOKIE, value, path=path, secure=secure, httponly=True, samesite="strict")


def forged(request: Request, form: Mapping[str, str], origins: Origins) -> str | None:
    """Return why the request may not be what its reader wanted, or None if it is."""
    if not origins.has(request):
        return f"it does not come from a page of this dashboard{_mismatch(request)}"
    known = request.cookies.get(COOKIE, "")
    if not _TOKEN.fullmatch(known) or not compare_digest(form.get(FIELD, "").encode(), known.encode()):
        return "its token is not that of this page: load the page again"
    return None


def _mismatch(request: Request) -> str:
    """Return the end of a message for an origin that is not that of the host, which a proxy may have changed."""
    origin = _origin(_claimed(request))
    if origin is None or "sec-fetch-site" in request.headers:
        return ""
    here = show(request.headers.get("host", ""))
    fix = "if a proxy has changed the host, let it keep Host, or name the origin in dashboard(origins=[...])"
    return f": its origin is {show(_claimed(request))}, the host here is {here}; {fix}"


def _claimed(request: Request) -> str:
    return request.headers.get("origin") or request.headers.get("referer") or ""


def _origin(url: str) -> Origin | None:
    """Return the origin of a URL, or None if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    return Origin(parts.scheme, bare(parts.hostname), _PORTS[parts.scheme] if port is None else port)


def _configured(value: object) -> Origin:
    origin = _origin(value) if isinstance(value, str) else None
    if origin is None or "@" in str(value) or urlsplit(str(value))[2:] not in {("", "", ""), ("/", "", "")}:
        fix = "must be a scheme, a host and maybe a port, such as 'https://crons.example'"
        raise ConfigError(f"dashboard: origins: {show(value)}: {fix}")
    return origin


def _is_at(origin: Origin, host: str) -> bool:
    """Return whether an origin is what a `Host` header names, in which the default port may be left out."""
    at = _origin(f"{origin.scheme}://{host}")
    return at == origin and hostname(host) is not None


def _is_here(host: str) -> bool:
    name = hostname(host)
    return name is None or is_loopback(name) or name.endswith(".localhost")
