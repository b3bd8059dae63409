"""The pages that show and change nothing: all crons, one cron, jobs, one job."""

from __future__ import annotations

from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pseudocron.backends.jobs import JobState
from pseudocron.dashboard import words
from pseudocron.dashboard.site import HERE, number
from pseudocron.report import status_of
from pseudocron.why.inquiry import inquire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from starlette.requests import Request

    from pseudocron.backends.records import Run, State
    from pseudocron.cron import Cron
    from pseudocron.dashboard.site import Site
    from pseudocron.why import Inquiry

STATIC = {"dashboard.css": "text/css", "dashboard.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""The files that pages load, and what they are."""

CRONS_A_PAGE = 50
JOBS_A_PAGE = 50
WHYS = 10
"""Of how many of its last slots the page of a cron says what became of them."""
LINES = 100
"""The most lines of a history on the page of a cron; the store rarely keeps as many."""
COUNTED = 10_000
"""Jobs of a state beyond which a page only says that there are more."""
LONGEST = 300
"""Characters of what is searched for."""


class Views:
    """The pages of a site.

    Args:
        site: What they all need.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    async def crons(self, request: Request) -> Response:
        """Each cron, how it is doing, and its last runs."""
        page, search = number(request.query_params.get("page", "1")), _text(request, "q")
        async with self._site.store() as (crons, backend):
            wanted = [cron for cron in crons if search.casefold() in cron.name.casefold()]
            shown = wanted[(page - 1) * CRONS_A_PAGE : page * CRONS_A_PAGE]
            now = self._site.host.now()
            states = await backend.states({cron.name: cron._first_mark(now) for cron in shown})
            timelines = await backend.timelines([cron.name for cron in shown])
            said: dict[str, Any] = {
                "health": await self._site.health(crons, backend),
                "counts": await backend.count_jobs(at_most=COUNTED),
            }
        pages = -(-len(wanted) // CRONS_A_PAGE)
        said |= {"search": search, "page": page, "pages": pages, "total": len(wanted), "counted": COUNTED}
        prepare = partial(self._rows, shown, states, timelines)
        return await self._site.page(request, "crons.html", prepare=prepare, **said)

    def _rows(
        self, crons: Sequence[Cron], states: Mapping[str, State], timelines: Mapping[str, Sequence[Run]]
    ) -> dict[str, Any]:
        now = self._site.host.now()
        return {"rows": [(status_of(cron, states[cron.name], now), timelines[cron.name]) for cron in crons]}

    async def cron(self, request: Request) -> Response:
        """All that is known of one cron, also of one that has left the configuration and has left a history."""
        name = request.query_params.get("name", "")
        async with self._site.store() as (crons, backend):
            cron = crons[name] if name in crons else None  # noqa: SIM401 - it is no mapping
            runs = await backend.history(name, limit=LINES)
            if cron is None and not runs:
                _ = crons[name]  # an UnknownCronError, with what may have been meant
            now = self._site.host.now()
            states = await backend.states({name: cron._first_mark(now)}) if cron else {}
            inquiry = (
                await inquire(crons, backend, name, now=self._site.host.now, tell=self._telling(request))
                if cron
                else None
            )
            health = await self._site.health(crons, backend)
        prepare = partial(self._told, cron, states.get(name), inquiry)
        return await self._site.page(
            request,
            "cron.html",
            prepare=prepare,
            health=health,
            name=name,
            runs=runs,
        )

    def _telling(self, request: Request) -> Callable[[datetime], str]:
        """How instants are told in sentences, in the time of the reader; blocks, when asked."""
        return lambda instant: words.reader(request, self._site.host.now()).brief(instant)

    def _told(self, cron: Cron | None, state: State | None, inquiry: Inquiry | None) -> dict[str, Any]:
        now = self._site.host.now()
        if cron is None or state is None or inquiry is None:
            return {"status": None, "upcoming": [], "whys": []}
        upcoming = list(islice(cron.schedule.ahead(now), 3))
        return {"status": status_of(cron, state, now), "upcoming": upcoming, "whys": inquiry.last(WHYS)}

    async def jobs(self, request: Request) -> Response:
        """Jobs, the newest first, page by page, by their state, task and key."""
        query = {name: _text(request, name) for name in ("state", "task", "key", "before")}
        states = [_state(query["state"])] if query["state"] else []
        only = {name: query[name] or None for name in ("task", "key", "before")}
        async with self._site.store() as (crons, backend):
            found = await backend.jobs(states=states, limit=JOBS_A_PAGE + 1, **only)
            counts = await backend.count_jobs(at_most=COUNTED)
            health = await self._site.health(crons, backend)
            tasks = sorted({*crons.tasks, *await backend.waiting_tasks()})
        shown = found[:JOBS_A_PAGE]
        older = query | {"before": shown[-1].job_id} if len(found) > JOBS_A_PAGE else None
        return await self._site.page(
            request,
            "jobs.html",
            jobs=shown,
            query=query,
            newest=_address(query | {"before": ""}),
            older=older and _address(older),
            states=list(JobState),
            counts=counts,
            counted=COUNTED,
            tasks=tasks,
            health=health,
        )

    async def job(self, request: Request) -> Response:
        """All that is known of one job."""
        job_id = request.query_params.get("id", "")
        async with self._site.store() as (crons, backend):
            job = await backend.job(job_id)
            health = await self._site.health(crons, backend)
        if job is None:
            raise HTTPException(404, "There is no such job, or not any more.")
        return await self._site.page(request, "job.html", job=job, health=health)

    async def static(self, request: Request) -> Response:
        """The style sheet, the script and the icon."""
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404, "There is no such file.")
        return Response(await self._site.host.hop(_read, name), media_type=STATIC[name])


@cache
def _read(name: str) -> bytes:
    return (HERE / "static" / name).read_bytes()


def _text(request: Request, name: str) -> str:
    value = request.query_params.get(name, "").strip()
    if len(value) > LONGEST:
        raise HTTPException(400, f"{name}: is longer than {LONGEST} characters")
    return value


def _state(text: str) -> JobState:
    try:
        return JobState(text)
    except ValueError:
        raise HTTPException(400, f"state: must be one of {', '.join(JobState)}") from None


def _address(query: Mapping[str, str]) -> str:
    return f"/jobs?{urlencode({name: value for name, value in query.items() if value})}"
