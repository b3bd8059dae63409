"""What a reader may do: run, pause and resume a cron; retry and cancel a job. Each a POST that leads back."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Refusal
from pseudocron.by_hand import start_now
from pseudocron.dashboard import csrf
from pseudocron.dashboard.site import root, way_back

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Run
    from pseudocron.dashboard.site import Site

Verb: TypeAlias = "Callable[[str], Awaitable[str]]"
"""Does something to the cron or job of a name; which word of `SAID` to say then."""

LONGEST_BODY = 8192
"""Bytes of a form; ours has some hundred."""
MOST_FIELDS = 8


class Actions:
    """The actions of a site.

    Args:
        site: What they all need.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    async def cron(self, request: Request) -> Response:
        """Run, pause or resume a cron."""
        form = await _form(request, self._site.origins)
        verbs = {"run": self._run, "pause": self._pause, "resume": self._resume}
        return _back(request, form, await _verb(verbs, form)(form.get("name", "")))

    async def job(self, request: Request) -> Response:
        """Retry or cancel a job."""
        form = await _form(request, self._site.origins)
        verbs = {"retry": self._retry, "cancel": self._cancel}
        return _back(request, form, await _verb(verbs, form)(form.get("id", "")))

    async def _run(self, name: str) -> str:
        """Start a run, which goes on behind the page."""
        async with self._site.store() as (crons, _):
            _ = crons[name]
            started = await start_now(self._site.process, name)
        return "overlap" if isinstance(started, Refusal) else "started"

    async def _pause(self, name: str) -> str:
        async with self._site.store() as (crons, backend):
            _ = crons[name]
            await backend.pause(name, True)
        return "paused"

    async def _resume(self, name: str) -> str:
        async with self._site.store() as (crons, backend):
            _ = crons[name]
            await backend.pause(name, False)
        return "resumed"

    async def _retry(self, job_id: str) -> str:
        async with self._site.store() as (_, backend):
            if await backend.retry(job_id):
                return "retried"
            await _found(backend, job_id)
            return "not-retried"

    async def _cancel(self, job_id: str) -> str:
        async with self._site.store() as (_, backend):
            if await backend.cancel(run_id=job_id):
                return "cancelled"
            job = await _found(backend, job_id)
            return "marked" if job.state is State.RUNNING else "over"


async def _found(backend: Backend, job_id: str) -> Run:
    job = await backend.run(job_id)
    if job is None or job.kind is not Kind.JOB:
        raise HTTPException(404, "There is no such job, or not any more.")
    return job


def _verb(verbs: Mapping[str, Verb], form: Mapping[str, str]) -> Verb:
    try:
        return verbs[form.get("do", "")]
    except KeyError:
        raise HTTPException(400, f"do: must be one of {', '.join(verbs)}") from None


def _back(request: Request, form: Mapping[str, str], said: str) -> Response:
    return RedirectResponse(root(request) + way_back(form, said), status_code=303)


async def _form(request: Request, origins: csrf.Origins) -> Mapping[str, str]:
    """Return the fields of a form of ours.

    Raises:
        HTTPException: It is no form (415), too long (413), no good (400), or not from a page of ours (403).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "An action is a form.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY:
            raise HTTPException(413, f"A form has at most {LONGEST_BODY} bytes.")
    try:
        form = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise HTTPException(400, "The form can't be read.") from None
    if why := csrf.forged(request, form, origins):
        raise HTTPException(403, f"Refused: {why}.")
    return form
