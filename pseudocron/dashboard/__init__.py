"""The door for people with a browser: `app.mount("/crons", dashboard(crons, auth=BasicAuth("me", password)))`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pseudocron.errors import ConfigError

__all__ = ["Auth", "BasicAuth", "BearerToken", "NoAuth", "dashboard"]

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp

    from pseudocron.dashboard.auth import Auth, BasicAuth, BearerToken, NoAuth
else:

    def __getattr__(name: str) -> object:
        """Import a part at its first use, so that an application without a dashboard does not load it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("pseudocron.dashboard.auth"), name)


def dashboard(crons: object, *, auth: Auth, hide_arguments: bool = False, origins: Collection[str] = ()) -> ASGIApp:
    """Return an ASGI application, to mount or to serve by itself, that shows crons and jobs and lets readers act.

    Args:
        crons: What the middleware is given.
        auth: Who may see it: `BasicAuth(user, password)`, `BearerToken(token)`, a callable over the request that may
            be async, and returns whether the reader may, or a `Response` for him; or, explicitly, `NoAuth()`, which
            answers only as the hosts of this machine unless others are named.
        hide_arguments: Keep the arguments of jobs from the pages, and their errors, which may contain arguments.
        origins: Where readers open it, such as `https://crons.example`, if a proxy changes the `Host` of requests.

    Raises:
        ConfigError: `auth` is none of these, one of `origins` is no origin, or Jinja is not installed.
    """
    from pseudocron.dashboard.auth import check  # noqa: PLC0415 - nobody else needs it

    auth = check(auth)
    try:
        from pseudocron.dashboard.app import build  # noqa: PLC0415 - nobody else needs Jinja
    except ModuleNotFoundError as error:
        raise ConfigError(f"dashboard: needs {error.name}: pip install 'pseudocron[dashboard]'") from error
    return build(crons, auth=auth, hide_arguments=hide_arguments, origins=origins)
