"""An application whose work fastapi-crons runs, set up as https://pypi.org/project/fastapi-crons/2.5.0/ shows.

With its lock on Redis it is the same one: two variables in the environment turn that on ("Running Multiple Workers").
The sixth field of the expression is croniter's for seconds.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi_crons import Crons, get_cron_router

from benchmarks.applications.noting import BORN, note, work

app = FastAPI()
crons = Crons(app)
app.include_router(get_cron_router(), prefix="/crons")


@app.get("/")
def hello() -> str:
    """Answer a request."""
    return "hello"


def each_second() -> None:
    """Do the work."""
    work()


crons.cron("* * * * * *")(each_second)
note(BORN, crons.config.instance_id)
