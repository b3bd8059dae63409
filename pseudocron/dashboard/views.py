"""The pages that show and change nothing: all crons, one cron, jobs, one job."""

from __future__ import annotations

from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Where
from pseudocron.dashboard import words
from pseudocron.dashboard.site import HERE, number
from pseudocron.report import history_of, latest_runs, line_of, status_of
from pseudocron.why.inquiry import inquire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from starlette.requests import Request

    from pseudocron.backends.model import CronState
    from pseudocron.cron import Cron
    from pseudocron.dashboard.site import Site
    from pseudocron.report import Entry, HistoryLine
    from pseudocron.why import Inquiry

STATIC = {"dashboard.css": "text/css", "dashboard.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""The files that pages load, and what they are."""

JOBS = frozenset({Kind.JOB})
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
        """Show each cron, how it is doing, and its last runs."""
        page, search = number(request.query_params.get("page", "1")), _text(request, "q")
        async with self._site.store() as (crons, backend):
            wanted = [cron for cron in crons if search.casefold() in cron.name.casefold()]
            shown = wanted[(page - 1) * CRONS_A_PAGE : page * CRONS_A_PAGE]
            known = await backend.states([cron.name for cron in crons])
            states = {cron.name: known.crons[cron.name] for cron in shown}
            timelines = await backend.timelines(list(states))
            latest = await latest_runs(backend, states, timelines)
            said: dict[str, Any] = {
                "health": await self._site.health(crons, backend, known),
                "counts": await backend.counts(COUNTED),
            }
        pages = -(-len(wanted) // CRONS_A_PAGE)
        said |= {"search": search, "page": page, "pages": pages, "total": len(wanted), "counted": COUNTED}
        prepare = partial(self._rows, shown, states, timelines, latest)
        return await self._site.page(request, "crons.html", prepare=prepare, **said)

    def _rows(
        self,
        crons: Sequence[Cron],
        states: Mapping[str, CronState],
        timelines: Mapping[str, Sequence[Entry]],
        latest: Mapping[str, HistoryLine],
    ) -> dict[str, Any]:
        now, rows = self._site.host.now(), []
        for cron in crons:
            lines = [line_of(entry) for entry in timelines.get(cron.name, ())]
            rows.append((status_of(cron, states[cron.name], latest.get(cron.name), now), lines))
        return {"rows": rows}

    async def cron(self, request: Request) -> Response:
        """Show all that is known of one cron, also of one that has left the configuration and has left a history."""
        name = request.query_params.get("name", "")
        async with self._site.store() as (crons, backend):
            cron = crons[name] if name in crons else None  # noqa: SIM401 - it is no mapping
            runs = await history_of(backend, name, limit=LINES)
            if cron is None and not runs:
                _ = crons[name]  # an UnknownCronError, with what may have been meant
            states = (await backend.states([name])).crons
            inquiry = (
                await inquire(crons, backend, name, now=self._site.host.now, tell=self._telling(request))
                if cron
                else None
            )
            health = await self._site.health(crons, backend)
        prepare = partial(self._told, cron, states[name], runs, inquiry)
        return await self._site.page(
            request,
            "cron.html",
            prepare=prepare,
            health=health,
            name=name,
            runs=runs,
        )

    def _telling(self, request: Request) -> Callable[[datetime], str]:
        """Return a function that spells an instant in the reader's time, for a sentence. The function blocks."""
        return lambda instant: words.reader(request, self._site.host.now()).brief(instant)

    def _told(
        self, cron: Cron | None, state: CronState, lines: Sequence[HistoryLine], inquiry: Inquiry | None
    ) -> dict[str, Any]:
        now = self._site.host.now()
        if cron is None or inquiry is None:
            return {"status": None, "upcoming": [], "whys": []}
        last = next((line for line in lines if not line.is_skip), None)
        upcoming = list(islice(cron.schedule.ahead(now), 3))
        return {"status": status_of(cron, state, last, now), "upcoming": upcoming, "whys": inquiry.last(WHYS)}

    async def jobs(self, request: Request) -> Response:
        """Show jobs page by page, the newest first, by their state, task and key."""
        query = {name: _text(request, name) for name in ("state", "task", "key", "before")}
        states = [_state(query["state"])] if query["state"] else []
        where = Where(states, JOBS, query["task"] or None, query["key"] or None)
        async with self._site.store() as (crons, backend):
            found = await backend.runs(where, JOBS_A_PAGE + 1, query["before"] or None, brief=True)
            counts = await backend.counts(COUNTED)
            health = await self._site.health(crons, backend)
            tasks = sorted({*crons.tasks, *await backend.waiting()})
        shown = found[:JOBS_A_PAGE]
        older = query | {"before": shown[-1].run_id} if len(found) > JOBS_A_PAGE else None
        return await self._site.page(
            request,
            "jobs.html",
            jobs=shown,
            query=query,
            newest=_address(query | {"before": ""}),
            older=older and _address(older),
            states=list(State),
            counts=counts,
            counted=COUNTED,
            tasks=tasks,
            health=health,
        )

    async def job(self, request: Request) -> Response:
        """Show all that is known of one job."""
        job_id = request.query_params.get("id", "")
        async with self._site.store() as (crons, backend):
            job = await backend.run(job_id)
            health = await self._site.health(crons, backend)
        if job is None or job.kind is not Kind.JOB:
            raise HTTPException(404, "There is no such job, or not any more.")
        return await self._site.page(request, "job.html", job=job, health=health)

    async def static(self, request: Request) -> Response:
        """Serve the style sheet, the script and the icon."""
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


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise HTTPException(400, f"state: must be one of {', '.join(State)}") from None


def _address(query: Mapping[str, str]) -> str:
    return f"/jobs?{urlencode({name: value for name, value in query.items() if value})}"
