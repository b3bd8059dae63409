"""An application whose work pseudocron runs behind its visitors, as README.md shows, in its default store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

from benchmarks.applications.noting import BORN, note, work
from pseudocron import Crons, PseudoCronMiddleware, current_run

if TYPE_CHECKING:
    from starlette.requests import Request

crons = Crons(folder=Path.cwd())


@crons.every(seconds=1)
def each_second() -> None:
    """Do the work."""
    work(str(current_run().slot.timestamp()))


async def hello(_request: Request) -> PlainTextResponse:
    """Answer a request."""
    return PlainTextResponse("hello")


app = Starlette()
app.add_route("/", hello)
app.add_middleware(PseudoCronMiddleware, crons=crons)
note(BORN)
