"""What every page needs: the crons and their store, the templates, the reader, and pages for what goes wrong."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from pseudocron.dashboard import csrf, pictures, words
from pseudocron.errors import BackendError
from pseudocron.health_check import HealthReport, examine_store
from pseudocron.host import Host
from pseudocron.jobs.propagation import without_context
from pseudocron.process import process_of
from pseudocron.report import duration, lateness, line_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.questions import States
    from pseudocron.crons import Crons

HERE = Path(__file__).parent
PATIENCE = 10.0
"""Seconds for which a page waits for the store."""

SAID = {
    "started": "It has been started.",
    "overlap": "It was not started: it is running already, as often as its max_instances allows.",
    "paused": "It is paused.",
    "resumed": "It is not paused any more.",
    "retried": "The job is pending again.",
    "not-retried": "It is not retried: only a failed job can be, and no pending one may have its key.",
    "cancelled": "The job is cancelled.",
    "marked": "The job is running: it goes on, but is not tried again if it fails.",
    "over": "There was nothing to cancel: the job is over.",
}
"""What a page may be told to say of the action before it; the words are ours, whatever the address says."""


class Site:
    """The dashboard of one configuration.

    Args:
        crons: The configuration, as the middleware takes it.
        hide_arguments: Whether the arguments of jobs are kept from the page, and their errors.
        origins: Where its pages are read.
        host: Time and threads.
    """

    def __init__(self, crons: object, *, hide_arguments: bool, origins: csrf.Origins, host: Host | None = None) -> None:
        self.hide_arguments = hide_arguments
        self.origins = origins
        self.host = host or Host()
        self.process = process_of(crons)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[tuple[Crons, Backend]]:
        """Yield the crons as they are now, and their store.

        Raises:
            BackendError: The store can't be used, or does not answer.
        """
        try:
            async with asyncio.timeout(PATIENCE), self.process.store() as (crons, backend):
                yield crons, backend
        except TimeoutError:
            raise BackendError(f"the store has not answered within {PATIENCE:g} s") from None

    async def health(self, crons: Crons, backend: Backend, states: States | None = None) -> dict[str, Any]:
        """Return what the head of every page shows of the whole; `states` are those of all crons, if they are read."""
        report = await examine_store(crons, backend, HealthReport(), states)
        newest = [line_of(entry) for entries in (await backend.timelines(limit=1)).values() for entry in entries]
        return {
            "backend": crons.settings.store,
            "error": self.process.source.error,
            "fresh_for": await backend.stale_in(),
            "last": max(newest, key=lambda line: line.started, default=None),
            "polled": report.polled,
            "problems": report.problems(),
        }

    async def page(self, request: Request, template: str, *, status: int = 200, **said: Any) -> Response:
        """Return a page, made in a thread because it may be long."""
        token = csrf.token(request)
        html = await self.host.hop(self._render, request, template, said | {"csrf": token})
        response = HTMLResponse(html, status_code=status)
        csrf.remember(response, request, root(request) or "/", token, self.origins)
        return response

    def _render(self, request: Request, template: str, said: dict[str, Any]) -> str:
        told = {
            "root": root(request),
            "here": here(request),
            "reader": words.reader(request, self.host.now()),
            "said": SAID.get(request.query_params.get("said", "")),
            "hide_arguments": self.hide_arguments,
        }
        prepare = said.pop("prepare", None)  # what of a page is work, and not for the event loop
        told |= said | (prepare() if prepare else {})
        return _templates().get_template(template).render(told)

    async def problem(self, request: Request, status: int, title: str, why: object) -> Response:
        """Return a page that says what is wrong."""
        return await self.page(request, "problem.html", status=status, title=title, why=str(why), health=None)


def root(request: Request) -> str:
    """Return the path where the dashboard is mounted, with which all its addresses begin."""
    return quote(_mount(request))


def _mount(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def here(request: Request) -> str:
    """Return the address of this page below the root, for the way back from an action."""
    path = str(request.scope["path"]).removeprefix(_mount(request)) or "/"
    # Not by the whole URL, in which a host that is none would be an error.
    said = request.scope["query_string"].decode("latin-1")
    query = "&".join(part for part in said.split("&") if not part.startswith("said="))
    return f"{path}?{query}" if query else path


PATH = re.compile(r"/(cron|jobs|job)?(\?[^#\\\s]*)?", re.ASCII)


def way_back(form: Mapping[str, str], said: str) -> str:
    """Return the address below the root to which an action leads back, with the message to show there."""
    asked = form.get("back", "/")
    path = asked if PATH.fullmatch(asked) else "/"
    return f"{path}{'&' if '?' in path else '?'}said={said}"


def number(text: str) -> int:
    """Return a page number.

    Raises:
        HTTPException: It is none: 400.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise HTTPException(400, "page: must be a whole number from 1")
    return int(text)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "pictures": pictures,
        "outcome": pictures.outcome,
        "lateness": lateness,
        "duration": duration,
    }
    environment.filters |= {"seconds": words.seconds, "indented": words.indented, "without_context": without_context}
    return environment
