"""The ASGI application of the dashboard: its addresses, who is let in, and what browsers may do with its pages."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from pseudocron.dashboard.actions import Actions
from pseudocron.dashboard.auth import refusal
from pseudocron.dashboard.csrf import Origins
from pseudocron.dashboard.site import Site
from pseudocron.dashboard.views import Views
from pseudocron.errors import PseudoCronError, UnknownCronError

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pseudocron.dashboard.auth import Auth

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not "no-referrer": with that a browser sends `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def build(crons: object, *, auth: Auth, hide_arguments: bool, origins: object = ()) -> ASGIApp:
    """Build the whole application, behind its guard."""
    site = Site(crons, hide_arguments=hide_arguments, origins=Origins(origins))
    views, actions = Views(site), Actions(site)
    routes = [
        Route("/", views.crons),
        Route("/cron", views.cron),
        Route("/cron", actions.cron, methods=["POST"]),
        Route("/jobs", views.jobs),
        Route("/job", views.job),
        Route("/job", actions.job, methods=["POST"]),
        Route("/static/{name}", views.static),
    ]
    problems = Problems(site)
    handlers = {HTTPException: problems.refused, PseudoCronError: problems.away}
    site_app = Starlette(routes=routes, exception_handlers=handlers)
    site_app.router.redirect_slashes = False  # it would stumble over a query that is no UTF-8
    return Guard(site_app, auth)


class Problems:
    """The pages for what goes wrong.

    Args:
        site: What they need.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    async def refused(self, request: Request, error: Exception) -> Response:
        """Respond that what was asked for is not there, or not understood."""
        assert isinstance(error, HTTPException)  # noqa: S101 - that is what it is registered for
        status = error.status_code
        response = await self._site.problem(request, status, HTTPStatus(status).phrase, error.detail)
        response.headers.update(error.headers or {})
        return response

    async def away(self, request: Request, error: Exception) -> Response:
        """Respond that the store or the configuration can't be used now, or that there is no such cron."""
        if isinstance(error, UnknownCronError):
            return await self._site.problem(request, 404, "There is no such cron", error)
        return await self._site.problem(request, 503, "The crons can't be shown now", error)


class Guard:
    """Lets in who may come in, and tells browsers to be careful with every answer.

    Args:
        app: What it guards.
        auth: Who may come in.
    """

    def __init__(self, app: ASGIApp, auth: Auth) -> None:
        self._app = app
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is HTTP; a websocket is refused."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": ""})
        elif scope["type"] == "http":
            careful = _careful(send)
            refused = await refusal(self._auth, Request(scope, receive))
            await (refused or self._app)(scope, receive, careful)
        else:
            await self._app(scope, receive, send)


def _careful(send: Send) -> Send:
    async def careful(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return careful
