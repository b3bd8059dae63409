"""An application whose work `repeat_every` of fastapi-utils runs.

As https://fastapiutils.github.io/fastapi-utils/user-guide/repeated-tasks/ shows: from the start-up of each process on,
with so many seconds between the end of a call and the next one.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi_utils.tasks import repeat_every

from benchmarks.applications.noting import BORN, note, work

app = FastAPI()


def each_second() -> None:
    """Do the work."""
    work()


app.on_event("startup")(repeat_every(seconds=1)(each_second))


@app.get("/")
def hello() -> str:
    """Answer a request."""
    return "hello"


note(BORN)
