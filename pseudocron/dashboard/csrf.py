"""That an action was asked for by a page of ours: where the request comes from, and a token only we could put there."""

from __future__ import annotations

import re
import secrets
from hmac import compare_digest
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

COOKIE = "pseudocron_csrf"
FIELD = "csrf"
_TOKEN = re.compile(r"[\w-]{43}", re.ASCII)


def token(request: Request) -> str:
    """Return the reader's token, or a new one. It is not stored here, so that any process can check it."""
    known = request.cookies.get(COOKIE, "")
    return known if _TOKEN.fullmatch(known) else secrets.token_urlsafe(32)


def remember(response: Response, request: Request, path: str, value: str) -> None:
    """Let the reader's browser keep the token, and send it along only from our own pages."""
    if request.cookies.get(COOKIE) != value:
        secure = request.scope.get("scheme") == "https"
        response.set_cookie(COOKIE, value, path=path, secure=secure, httponly=True, samesite="strict")


def forged(request: Request, form: Mapping[str, str]) -> str | None:
    """Return why the request may not be what its reader wanted, or None if it is."""
    if not _is_ours(request):
        return "it does not come from a page of this dashboard"
    known = request.cookies.get(COOKIE, "")
    if not _TOKEN.fullmatch(known) or not compare_digest(form.get(FIELD, "").encode(), known.encode()):
        return "its token is not that of this page: load the page again"
    return None


def _is_ours(request: Request) -> bool:
    """Return whether the request's headers name a page of ours as its origin. Without such headers it is refused.

    What the browser knows of the site counts first: a proxy may have changed the host that we see.
    """
    headers = request.headers
    if site := headers.get("sec-fetch-site"):
        return site == "same-origin"
    origin = headers.get("origin") or headers.get("referer")
    if not origin:
        return False
    try:
        return urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False
