"""An application with a dashboard at `/crons`, and a visitor of it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from pseudocron.backends.model import Reason, Skip, State
from pseudocron.backends.questions import Capacity, Claim, End, Manual, NewJob, Plan, Poll, Take
from pseudocron.crons import Crons
from pseudocron.dashboard import NoAuth, dashboard
from pseudocron.host import utcnow
from pseudocron.process import Process, process_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from datetime import datetime

    from httpx2 import Response

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Run

T = TypeVar("T")

EVIL = "<script>alert('mail')</script>"
TRACEBACK = "Traceback (most recent call last):\n<img src=x onerror=alert(1)>"


def crons_of(store: str, app: str = "pseudocron") -> Crons:
    crons = Crons(backend=store, app=app)

    @crons.every(hours=1)
    async def bill() -> None: ...

    @crons.cron("0 2 * * *", name=EVIL, tz="Asia/Shanghai")
    async def evil() -> None: ...

    @crons.task
    async def mail(to: str) -> None: ...

    return crons


@dataclass
class House:
    """What is mounted, its crons, and who comes by."""

    crons: Crons
    client: TestClient

    @classmethod
    @contextmanager
    def open(cls, store: str, **settings: Any) -> Iterator[House]:
        crons = crons_of(store, **settings)
        with cls.at(crons) as house:
            yield house

    @classmethod
    @contextmanager
    def at(cls, crons: Any, *, path: str = "/crons", **options: Any) -> Iterator[House]:
        app = Starlette(routes=[Mount(path, dashboard(crons, **{"auth": NoAuth(hosts=["shop.test"])} | options))])
        with TestClient(app, base_url="http://shop.test", raise_server_exceptions=False) as client:
            yield cls(crons, client)

    @property
    def process(self) -> Process:
        return process_of(self.crons)

    def do(self, work: Callable[[Backend], Coroutine[Any, Any, T]]) -> T:
        """Something done to the store, on the event loop of the application."""

        async def done() -> T:
            async with self.process.store() as (_, backend):
                return await work(backend)

        assert self.client.portal
        return self.client.portal.call(done)

    def run(self, name: str = "bill", outcome: State | None = None, *, goes_on: bool = False) -> Claim:
        """A run of a cron that has ended, or with no outcome goes on."""

        async def run(backend: Backend) -> Claim:
            claim = await backend.start(Manual(name, worker="host:1", lease=60))
            assert isinstance(claim, Claim)
            if outcome is State.FAILED:
                await backend.finish([End(claim, outcome, error=TRACEBACK, output="<b>a line</b>")])
            elif outcome:
                await backend.finish([End(claim, outcome, goes_on=goes_on)])
            return claim

        return self.do(run)

    def retry(self, name: str = "bill") -> None:
        """A slot of a cron whose first attempt has failed, and that is retried in an hour."""

        async def retry(backend: Backend) -> None:
            now = utcnow()
            plan = Plan(name, await self._mark(backend, name), now - timedelta(hours=1), [now - timedelta(minutes=1)])
            (claim,) = await self._poll(backend, plan)
            await backend.finish([End(claim, State.FAILED, now + timedelta(hours=1), error=TRACEBACK)])

        self.do(retry)

    def skip(self, name: str, reason: Reason) -> None:
        async def skip(backend: Backend) -> None:
            skips = [Skip(name=name, slot=utcnow(), reason=reason, slots=2)]
            await self._poll(backend, Plan(name, await self._mark(backend, name), utcnow(), skips=skips))

        self.do(skip)

    async def _mark(self, backend: Backend, name: str) -> datetime | None:
        return (await backend.states([name])).crons[name].mark

    async def _poll(self, backend: Backend, *plans: Plan) -> Sequence[Claim]:
        crons = {plan.name: 1 for plan in plans}
        take = Take({} if plans else {"mail": None}, crons, Capacity(10, 10, 10), worker="host:2", lease=60)
        polled = await backend.poll(Poll(take, plans, force=True))
        assert polled
        return polled.claims

    def defer(self, *job_ids: str, key: str | None = None, arguments: str = '{"to": "ann"}') -> None:
        def new(job_id: str) -> NewJob:
            return NewJob(job_id, "mail", arguments, due=utcnow(), key=key)

        self.do(lambda backend: backend.defer([new(job_id) for job_id in job_ids]))

    def claim(self) -> Sequence[Claim]:
        """All pending jobs."""
        return self.do(self._poll)

    def fail(self, outcome: State = State.FAILED) -> None:
        """All pending jobs, at their first attempt."""

        async def fail(backend: Backend) -> None:
            await backend.finish([End(claim, outcome, error=TRACEBACK) for claim in await self._poll(backend)])

        self.do(fail)

    def job(self, job_id: str) -> Run:
        job = self.do(lambda backend: backend.run(job_id))
        assert job
        return job

    def get(self, path: str = "/", status: int = 200, **params: str) -> str:
        response = self.client.get(f"/crons{path}", params=params or None)
        assert response.status_code == status, response.text
        return response.text

    def token(self) -> str:
        """That of a page which the visitor has open."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get())
        assert found
        return found[1]

    def post(self, path: str, *, origin: str | None = "http://shop.test", **form: str) -> Response:
        headers = {} if origin is None else {"origin": origin}
        return self.client.post(f"/crons{path}", data=form, headers=headers, follow_redirects=False)

    def act(self, path: str, **form: str) -> str:
        """What the page says to which a form of ours leads."""
        response = self.post(path, csrf=self.token(), **form)
        assert response.status_code == 303, response.text
        page = self.client.get(response.headers["location"]).text
        said = re.search(r'<p class="said" role="status">([^<]*)</p>', page)
        assert said, page
        return said[1]
