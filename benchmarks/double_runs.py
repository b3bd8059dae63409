"""How often a slot runs under four workers, by pseudocron and other schedulers, and what is left when a worker dies."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.applications.noting import BORN, END, NOTES, START, TAKES, UNTOLD
from benchmarks.contest import PEERS, ROOT, nothing
from benchmarks.measuring import Row, show
from benchmarks.serving import visitor
from harness.redis_server import serving
from harness.uvicorn_server import Uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.contest import Beside

    Told = Callable[[Path, "Note", str], str]
    """Of the folder, the start of the broken run and what its worker is called: what the library tells of that run."""

WORKERS, SLOTS = 4, 60
GAP = 0.2
"""Seconds between two visitors."""
SETTLING = 5.0
"""Seconds from when all workers are there until slots count; some begin with a delay."""
REST, PATIENCE = 15, 400.0
"""Seconds that are watched from when the schedule goes on, and until nobody waits for that any more."""
LOOK_AGAIN, ASK_AGAIN = 0.005, 2.0
"""Seconds between two looks at what is noted, and two questions of what the library tells."""


@dataclass(frozen=True, slots=True)
class Note:
    """A line that an application has noted."""

    word: str
    at: float
    process: int
    about: str

    @property
    def slot(self) -> int:
        """What the library tells, else the whole second that is nearest."""
        return round(self.at if self.about == UNTOLD else float(self.about))


def _no_record(_folder: Path, _broken: Note, _worker: str) -> str:
    """Schedules that are in memory alone die with their process."""
    return ""


def _in_history(folder: Path, broken: Note, _worker: str) -> str:
    """Of pseudocron: the outcome; asked without the application, which would note that one more worker is there."""
    (folder / "crons.py").write_text("crons = {}", encoding="utf-8")
    argv = [sys.executable, "-m", "pseudocron", "history", "--json"]
    lines = subprocess.run(
        argv, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True
    )
    runs = (run for run in json.loads(lines.stdout) if datetime.fromisoformat(run["slot"]).timestamp() == broken.slot)
    return next((run["outcome"] or "no outcome yet" for run in runs), "")


def _in_its_database(folder: Path, broken: Note, worker: str) -> str:
    """Of fastapi-crons: the status of the job, if it is still this worker's, or a line of the execution log."""
    with closing(sqlite3.connect(folder / "cron_state.db")) as db:
        statuses = db.execute("SELECT status FROM job_status WHERE instance_id = ?", [worker]).fetchall()
        log = db.execute("SELECT status, started_at FROM job_execution_log WHERE instance_id = ?", [worker]).fetchall()
    lines = [status for status, at in log if abs(datetime.fromisoformat(at).timestamp() - broken.at) < TAKES]
    return ", ".join([*lines, *(status for (status,) in statuses)])


@contextmanager
def _on_redis(_folder: Path) -> Iterator[Mapping[str, str]]:
    """Return the two variables that turn the lock of fastapi-crons on."""
    with serving() as server:
        yield {"CRON_ENABLE_DISTRIBUTED_LOCKING": "true", "CRON_REDIS_URL": server.url}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A scheduler in an application.

    Args:
        name: Who it is, for the table.
        package: Whose version stands there.
        application: The module that is served.
        told: What it tells of the broken run.
        python: The interpreter.
        beside: What runs beside it, and what stands in its environment of that.
    """

    name: str
    package: str
    application: str
    told: Told = _no_record
    python: Path = PEERS
    beside: Beside = nothing

    @property
    def title(self) -> str:
        """The name with the version that is installed."""
        code = f"from importlib.metadata import version; print(version({self.package!r}))"
        version = subprocess.run([str(self.python), "-c", code], check=True, capture_output=True, text=True).stdout
        return f"{self.name} ({version.strip()})"


OURS = Contestant(
    name="pseudocron",
    package="pseudocron",
    application="with_pseudocron",
    told=_in_history,
    python=Path(sys.executable),
)
FASTAPI_CRONS = Contestant(
    name="fastapi-crons", package="fastapi-crons", application="with_fastapi_crons", told=_in_its_database
)
LOCKED = Contestant(
    name="fastapi-crons with its lock on Redis",
    package="fastapi-crons",
    application="with_fastapi_crons",
    told=_in_its_database,
    beside=_on_redis,
)
APSCHEDULER = Contestant(name="APScheduler in the application", package="APScheduler", application="with_apscheduler")
REPEATED = Contestant(name="`repeat_every` of fastapi-utils", package="fastapi-utils", application="with_repeat_every")


def _notes(folder: Path, word: str) -> list[Note]:
    """All lines of that word, in the order in which they were noted."""
    with suppress(FileNotFoundError):
        lines = (line.split() for line in (folder / NOTES).read_text(encoding="ascii").splitlines())
        return [Note(word, float(at), int(process), about) for said, at, process, about in lines if said == word]
    return []


def _wait_for(number: int, word: str, folder: Path, patience: float = PATIENCE) -> list[Note]:
    """Wait until there are more than so many lines of that word, and return them."""
    end = time.monotonic() + patience
    while len(notes := _notes(folder, word)) <= number:
        assert time.monotonic() < end, f"only {len(notes)} times {word!r} after {patience:.0f} s"
        time.sleep(LOOK_AGAIN)
    return notes


def _runs(starts: Sequence[Note], first: int, slots: int) -> Runs:
    counted = Counter(start.slot for start in starts)
    return Runs([counted[slot] for slot in range(first, first + slots)])


@dataclass(frozen=True, slots=True)
class Runs:
    """How many runs each slot of a time had."""

    each: Sequence[int]

    def __str__(self) -> str:
        missed, more = self.each.count(0), sum(runs > 1 for runs in self.each)
        runs, slots = sum(self.each), len(self.each)
        return f"{runs / slots:.2f}: {runs} runs of {slots} slots, {more} more than once, {missed} missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was seen of one contestant.

    Args:
        before: The runs of a minute.
        after: The runs of the slots from when the schedule went on.
        replaced: Seconds from the kill to the new worker.
        stalled: Seconds from the kill to the next run.
        between: How many slots had no run between.
        told: What the library told of the broken run, each answer once, in their order.
    """

    before: Runs
    after: Runs
    replaced: float
    stalled: float
    between: int
    told: Sequence[str]


def _seen(one: Contestant) -> Outcome:
    """Serve it for a minute, kill one of its workers in the middle of a run, and watch it until it goes on."""
    with tempfile.TemporaryDirectory() as name, one.beside(folder := Path(name)) as environ:
        target = f"benchmarks.applications.{one.application}:app"
        uvicorn = Uvicorn(target, folder, workers=WORKERS, environ=environ, python=str(one.python))
        with uvicorn as server, visitor(server.port, gap=GAP):
            _wait_for(WORKERS - 1, BORN, folder)
            time.sleep(SETTLING)
            first = math.ceil(time.time())
            time.sleep(first + SLOTS + 1 - time.time())
            before = _runs(_notes(folder, START), first, SLOTS)
            return _without_one(one, folder, before)


def _without_one(one: Contestant, folder: Path, before: Runs) -> Outcome:
    broken = _wait_for(len(_notes(folder, START)), START, folder)[-1]
    os.kill(broken.process, signal.SIGKILL)
    killed = time.time()
    worker = next(born.about for born in _notes(folder, BORN) if born.process == broken.process)
    told: list[str] = []
    again: Note | None = None
    while again is None or time.time() < again.slot + REST + 1:
        assert time.time() < killed + PATIENCE, "the schedule does not go on"
        told += [answer for answer in [one.told(folder, broken, worker)] if answer not in told[-1:]]
        time.sleep(ASK_AGAIN)
        again = again or next((start for start in _notes(folder, START) if start.slot > broken.slot), None)
    assert not any(end.process == broken.process and end.at > broken.at for end in _notes(folder, END))
    return Outcome(
        before=before,
        after=_runs(_notes(folder, START), again.slot, REST),
        replaced=_wait_for(WORKERS, BORN, folder)[-1].at - killed,
        stalled=again.at - killed,
        between=again.slot - broken.slot - 1,
        told=told,
    )


def _rows(one: Contestant) -> list[Row]:
    outcome = _seen(one)
    goal = one is OURS
    told = ", then ".join(f"`{answer}`" if answer else "nothing" for answer in outcome.told)
    return [
        Row(
            what=f"runs per slot of a 1 s schedule; {WORKERS} uvicorn workers; {one.title}",
            goal=f"1.00 of {SLOTS} slots" if goal else "none",
            measured=str(outcome.before),
            met=set(outcome.before.each) == {1} if goal else None,
        ),
        Row(
            what="the same, after a worker was killed in the middle of a run",
            goal="none",
            measured=f"the next run after {outcome.stalled:.1f} s ({outcome.between} slots had none), "
            f"a new worker after {outcome.replaced:.1f} s; then {outcome.after}; of the broken run is told: {told}",
            met=None,
        ),
    ]


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    contestants = (OURS, FASTAPI_CRONS, LOCKED, APSCHEDULER, REPEATED)
    return [row for one in contestants for row in _rows(one)]


if __name__ == "__main__":
    show(measure())
