"""An application with a dashboard at `/crons`, and a visitor of it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from pseudocron.backends.jobs import JobEnd, JobState, NewJob
from pseudocron.backends.records import Claim, Outcome, Proposal, Reason, Result, Skip
from pseudocron.crons import Crons
from pseudocron.dashboard import NoAuth, dashboard
from pseudocron.host import utcnow
from pseudocron.watch import Watch, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from httpx2 import Response

    from pseudocron.backends.base import Backend
    from pseudocron.backends.jobs import Job

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
        app = Starlette(routes=[Mount(path, dashboard(crons, **{"auth": NoAuth()} | options))])
        with TestClient(app, base_url="http://shop.test", raise_server_exceptions=False) as client:
            yield cls(crons, client)

    @property
    def watch(self) -> Watch:
        return watch(self.crons)

    def do(self, work: Callable[[Backend], Coroutine[Any, Any, T]]) -> T:
        """Something done to the store, on the event loop of the application."""

        async def done() -> T:
            async with self.watch.store() as (_, backend):
                return await work(backend)

        assert self.client.portal
        return self.client.portal.call(done)

    def run(self, name: str = "bill", result: Result | None = None) -> Claim:
        """A run of a cron that has ended, or with no result goes on."""

        async def run(backend: Backend) -> Claim:
            now = utcnow()
            claim = await backend.claim(Proposal(name=name, slot=now, worker="host:1", lease=60, manual=True))
            assert isinstance(claim, Claim)
            if result:
                await backend.finish(claim, result)
            return claim

        return self.do(run)

    def skip(self, name: str, reason: Reason) -> None:
        self.do(lambda backend: backend.skip([Skip(name=name, slot=utcnow(), reason=reason, slots=2)]))

    def defer(self, *job_ids: str, key: str | None = None, arguments: str = '{"to": "ann"}') -> None:
        def new(job_id: str) -> NewJob:
            return NewJob(job_id=job_id, task="mail", arguments=arguments, due=utcnow(), key=key)

        self.do(lambda backend: backend.defer([new(job_id) for job_id in job_ids], max_age=60))

    def fail(self) -> None:
        """All pending jobs, at their first attempt."""

        async def fail(backend: Backend) -> None:
            claims = await backend.claim_jobs({"mail": None}, limit=10, worker="host:2", lease=60)
            end = JobEnd(state=JobState.FAILED, error=TRACEBACK)
            await backend.finish_jobs([(claim, end) for claim in claims])

        self.do(fail)

    def job(self, job_id: str) -> Job:
        job = self.do(lambda backend: backend.job(job_id))
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


FAILED = Result(outcome=Outcome.FAILED, error=TRACEBACK, output="<b>a line</b>")
SUCCEEDED = Result(outcome=Outcome.SUCCEEDED)
