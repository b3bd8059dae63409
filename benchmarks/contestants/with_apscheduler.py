"""Defers and drains jobs with APScheduler 3, in its store for SQLAlchemy on SQLite, with all its defaults."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from benchmarks.contestants.taking_part import LOOK_AGAIN, SYNCHRONOUS, Taken, note, ready, serve, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping

store = SQLAlchemyJobStore(url="sqlite:///apscheduler.db")
scheduler = BackgroundScheduler(jobstores={"default": store})


def _about() -> Mapping[str, object]:
    with store.engine.connect() as db:
        pragmas = ("journal_mode", "synchronous")
        journal, synchronous = (db.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas)
    return {"store": f"{journal}, {SYNCHRONOUS[synchronous]}"}


def _defer(number: int) -> Mapping[str, object]:
    scheduler.start(paused=True)  # before that, jobs are only in memory
    about = _about()
    taken = Taken()
    for one in range(number):
        scheduler.add_job(note, args=(one,), misfire_grace_time=None)  # by default, one a second late is left out
    told = taken.told()
    assert len(scheduler.get_jobs()) == number
    return {**told, **about}


def _drain(number: int) -> Mapping[str, object]:
    about = _about()
    ready()
    taken = Taken()
    scheduler.start()
    wait_for(number)
    while store.get_next_run_time():  # else the last one would run again
        time.sleep(LOOK_AGAIN)
    return {**taken.told(), **about}


if __name__ == "__main__":
    serve({"defer": _defer, "drain": _drain})
