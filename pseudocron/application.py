"""Whether an object can be called as an ASGI or as a WSGI application, told before the first request."""

from __future__ import annotations

from inspect import Signature, iscoroutinefunction, signature
from typing import TYPE_CHECKING

from pseudocron.errors import ConfigError, show

if TYPE_CHECKING:
    from collections.abc import Callable

_WHERE = "PseudoCronMiddleware: app:"
_NO_ASGI = {
    2: "is a WSGI application, must be ASGI: import the middleware from pseudocron.wsgi instead, or run the crons "
    "beside it with `pseudocron work`",
    1: "is an ASGI 2 application, must be ASGI 3: wrap it, asgiref.compatibility.guarantee_single_callable(app)",
}
_NO_WSGI = "is an ASGI application, must be WSGI: import the middleware from pseudocron instead of pseudocron.wsgi"


def check_asgi(app: object) -> None:
    """Raise `ConfigError` if something can't be called as an ASGI application, which each request would tell."""
    taken = _taken(app, "ASGI")
    if taken is not None and 3 not in taken:
        why = _NO_ASGI.get(max(taken, default=0), "must be an ASGI application, which takes scope, receive and send")
        raise ConfigError(f"{_WHERE} {show(app)}: {why}")


def check_wsgi(app: object) -> None:
    """Raise `ConfigError` if something can't be called as a WSGI application, which each request would tell."""
    taken = _taken(app, "WSGI")
    if taken is None or (2 in taken and not _is_async(app)):
        return
    why = _NO_WSGI if 3 in taken else "must be a WSGI application, which takes environ and start_response"
    raise ConfigError(f"{_WHERE} {show(app)}: {why}")


def _is_async(app: object) -> bool:
    call: Callable[..., object] = type(app).__call__
    return iscoroutinefunction(app) or iscoroutinefunction(call)


def _taken(app: object, kind: str) -> set[int] | None:
    """Return with which numbers of arguments, up to 3, something can be called; None if nobody knows."""
    if not callable(app):
        raise ConfigError(f"{_WHERE} {show(app)}: must be the {kind} application that it wraps")
    try:
        parameters = signature(app, follow_wrapped=False)
    except (TypeError, ValueError):  # of one in C nobody knows
        return None
    return {count for count in (1, 2, 3) if _takes(parameters, count)}


def _takes(parameters: Signature, count: int) -> bool:
    try:
        parameters.bind(*range(count))
    except TypeError:
        return False
    return True
