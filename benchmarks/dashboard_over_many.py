"""What the pages of the dashboard take over 1,000 crons, each with a full history, and a million jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.contest import copied
from benchmarks.measuring import Row, show, spread
from benchmarks.pending import FOLDER, HAVE_COME_DUE, MILLION, full
from pseudocron import Crons, dashboard
from pseudocron.backends.file.backend import File
from pseudocron.backends.model import State
from pseudocron.backends.questions import Claim, End, Manual
from pseudocron.dashboard import NoAuth

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message

CRONS, RUNS = 1000, 20
PAGES = 60
GOAL = 200.0
"""Milliseconds."""
FLAT = 5.0
"""MB by which the process may grow over that many pages."""
PATHS = {
    "the first page of the dashboard": "/",
    "the same, its last page": f"/?page={CRONS // 50}",
    "the page of its jobs": "/jobs",
    "the jobs with a key that no job has": "/jobs?key=nobody",
    "the jobs in a state that no job is in": "/jobs?state=failed",
}


async def _nothing() -> None:
    return


def _crons(folder: Path) -> Crons:
    crons = Crons(backend=f"file:{folder / FOLDER}")
    for number in range(CRONS):
        crons.add(f"cron {number}", _nothing, f"{number % 60} {number // 60} * * *")
    return crons


async def _fill(crons: Crons, folder: Path) -> None:
    """Store a full history for each cron, a part of it with tracebacks."""
    store = File(folder / FOLDER, durability="process")
    await store.open()
    for number in range(RUNS):
        claims = [await store.start(Manual(cron.name, worker="host:1", lease=600)) for cron in crons]
        await store.finish([_end(claim, failed=number % 10 == 9) for claim in claims if isinstance(claim, Claim)])
    await store.close()


def _end(claim: Claim, *, failed: bool) -> End:
    return End(claim, State.FAILED, error="Traceback\n" * 200) if failed else End(claim, State.SUCCEEDED)


async def _visit(app: ASGIApp, path: str) -> float:
    """Milliseconds from the request to the end of its answer."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    path, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [],
    }
    began = perf_counter()
    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    return (perf_counter() - began) * 1e3


def _megabytes() -> float:
    """Return the resident memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


async def _measure(folder: Path) -> list[Row]:
    crons = _crons(folder)
    await _fill(crons, folder)
    app, rows = dashboard(crons, auth=NoAuth(hosts=["*"])), []
    for what, path in PATHS.items():
        first = await _visit(app, path)
        others = [await _visit(app, path) for _ in range(PAGES)]
        rows.append(
            Row(
                what=f"{what}, of {CRONS:,} crons and {MILLION:,} jobs",
                goal=f"{GOAL:.0f} ms",
                measured=f"{spread(others, ' ms', 0)}; the first one {first:.0f} ms",
                met=median(others) <= GOAL,
            )
        )
    before = _megabytes()
    for path in list(PATHS.values()) * PAGES:
        await _visit(app, path)
    grown = _megabytes() - before
    rows.append(
        Row(
            what=f"memory that {len(PATHS) * PAGES} more such pages leave behind",
            goal=f"at most {FLAT:.0f} MB",
            measured=f"{grown:.1f} MB of {before:.0f} MB",
            met=grown <= FLAT,
        )
    )
    return rows


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    with copied(full(HAVE_COME_DUE).parent) as folder:
        return asyncio.run(_measure(folder))


if __name__ == "__main__":
    show(measure())
