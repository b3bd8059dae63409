"""Whoever writes into a store can make it unreadable, and no more: no other error, no other call, no other file."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from pseudocron.backends.file import File
from pseudocron.backends.jobs import JobEnd, JobState
from pseudocron.backends.records import Claim, Outcome, Proposal, Reason, Result, Skip
from pseudocron.backends.redis.records import JOB, RUN, job_of, run_of, state_of
from pseudocron.cron import Cron
from pseudocron.errors import BackendError
from pseudocron.host import Host
from pseudocron.report import status_of
from pseudocron.runner.due import due, overdue
from pseudocron.schedule import parse
from pseudocron.targets import Function
from verification.fuzzing.inputs import Bytes
from verification.fuzzing.parsers import assert_is_a_line, crons

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pseudocron.backends.base import Backend
    from pseudocron.backends.records import State

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WORDS = (
    *("a", "b", "mail", "paint", "os:system", "../a", "pending", "running", "succeeded", "failed", "lost", "skipped"),
    *("overlap", "no_traffic", "replaced", "{}", "[]", '{"to": 1}', '[{"run_id": 1}]', '{"request": "x"}', "null", "["),
)
TABLES = {
    "crons": ("name", "mark", "back", "paused", "claims", "failures", "missed"),
    "runs": (
        *("run_id", "name", "slot", "fence", "attempt", "worker", "started", "ended", "outcome", "reason", "slots"),
        *("first", "since", "blockers", "waited", "error", "output", "lease", "recover", "waits", "process"),
    ),
    "jobs": (
        *("job_id", "task", "key", "state", "priority", "due", "created", "expires", "attempts", "lost", "fence"),
        *("worker", "started", "ended", "reason", "error", "arguments", "unfit_since"),
    ),
    "waiting": ("task", "ready", "rank", "due", "id", "priority", "key", "expires"),
    "running": ("job_id", "id", "task", "key", "fence", "worker", "started", "lease", "mark", "process", "over"),
    "tasks": ("name", "seen"),
    "machines": ("machine", "host", "wrote"),
}
GOOD = (
    "INSERT INTO crons (name, mark) VALUES ('a', 1777000000000000), ('b', 1)",
    """INSERT INTO runs (run_id, name, slot, fence, attempt, worker, started, slots, lease, waits, outcome)
        VALUES ('r', 'a', 1, 1, 1, 'w', 1, 1, NULL, 0, 'failed'), ('s', 'a', 2, 2, 1, 'w', 2, 1, 5, 0, NULL),
            ('t', 'b', 2, 2, 1, 'w', 2, 1, NULL, 1, 'lost')""",
    """INSERT INTO jobs (id, job_id, task, key, state, priority, due, created, arguments)
        VALUES (1, 'i', 'mail', 'k', 'pending', 0, 1, 1, '{}'), (2, 'j', 'mail', NULL, 'pending', 0, 1, 1, '{}'),
            (3, 'k', 'mail', NULL, 'failed', 0, 1, 1, '{}')""",
    "INSERT INTO waiting (task, ready, rank, due, id, priority, key) VALUES ('mail', 0, 0, 1, 1, 0, 'k')",
    """INSERT INTO running
        VALUES ('j', 2, 'mail', NULL, 1, 'w', 1, 5, NULL, NULL, 0),
            ('k', 3, 'mail', NULL, 1, 'w', 1, 5, 'x', NULL, 1)""",
    "INSERT INTO tasks VALUES ('mail', 5), ('fax', 5)",
)


async def at_once(work: Any, /, *args: object) -> Any:
    return work(*args)


HOST = Host(now=lambda: NOW, hop=at_once, random=lambda: 0.5)
HOURLY = Cron(
    name="a", target=Function(len, "builtins:len"), schedule=parse("5 * * * *"), jitter=9.0, at_least_once=True
)
MINUTELY = Cron(name="b", target=Function(len, "builtins:len"), schedule=parse(60), coalesce=False)
CLAIM = Claim(name="a", slot=NOW, run_id="s", fence=2, attempt=1, started=NOW)


@cache
def store() -> tuple[File, sqlite3.Connection]:
    """A store, and the connection of an adversary."""
    folder = Path(mkdtemp(prefix="hostile"))
    backend = File(folder, durability="process", host=HOST)
    done(backend.open())
    return backend, sqlite3.connect(folder / "crons.db", isolation_level=None)


def done(verb: Coroutine[Any, Any, Any]) -> Any:
    """What a verb says that never has to wait."""
    try:
        verb.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def rows(data: bytes) -> None:
    """Whatever stands in some columns, each verb answers, or raises a `BackendError`."""
    bytes_ = Bytes(data)
    backend, db = store()
    db.execute("BEGIN")
    for table in TABLES:
        db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
    for line in GOOD:
        db.execute(line)
    for _ in range(1 + bytes_.one() % 3):
        table = bytes_.pick(
            ("crons", "runs", "runs", "jobs", "jobs", "waiting", "running", "running", "machines", "tasks")
        )
        column, value = bytes_.pick(TABLES[table]), bytes_.column(WORDS)
        which = "rowid % 2" if table in {"crons", "runs", "jobs"} else "TRUE"
        with suppress(sqlite3.IntegrityError):
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {which}", (value,))  # noqa: S608 - our own names
    db.execute("COMMIT")
    for verb in (look, work, manage):
        try:
            done(verb(backend))
        except BackendError as error:
            assert_is_a_line(error)


async def look(backend: Backend) -> None:
    for run in (await backend.reap()).lost:
        assert run.worker is not None
    states = await backend.states({"a": NOW, "b": NOW - timedelta(hours=1), "c": NOW})
    plan(states["a"], states["b"])
    for cron in (HOURLY, MINUTELY):
        await backend.claim(Proposal(name=cron.name, slot=NOW, worker="me", lease=30))
        await backend.claim(Proposal(name=cron.name, slot=NOW, worker="me", lease=30, recovers="t", recover=True))
    await backend.skip([Skip(name="a", slot=NOW, reason=Reason.NO_TRAFFIC)])
    backend.renew([CLAIM], 30)
    await backend.finish(CLAIM, Result(outcome=Outcome.SUCCEEDED))


def plan(hourly: State, minutely: State) -> None:
    for cron, state in ((HOURLY, hourly), (MINUTELY, minutely)):
        due(cron, state, NOW)
        overdue(cron, state, NOW, max_age=60)
        status_of(cron, state, NOW)


async def work(backend: Backend) -> None:
    await backend.reap_jobs()
    claims = await backend.claim_jobs({"mail": 9}, limit=5, worker="me", lease=30)
    assert {claim.task for claim in claims} <= {"mail"}
    for claim in claims:
        with suppress(Exception):
            crons.tasks["paint"]._unpack(claim.arguments)
        assert isinstance(claim.arguments, str)
    await backend.next_due({"mail": None})
    await backend.release_jobs(claims)
    await backend.lingering()
    backend.renew_jobs(claims, 30)
    await backend.finish_jobs([(claim, JobEnd(state=JobState.PENDING, due=NOW, error="x")) for claim in claims])
    await backend.cancel(task="mail", key="k")


async def manage(backend: Backend) -> None:
    await backend.history()
    await backend.history("a")
    await backend.timelines(["a", "b"])
    await backend.pause("a")
    await backend.resume("a")
    await backend.waiting_tasks()
    await backend.count_jobs()
    for job in await backend.jobs():
        assert isinstance(job.arguments, str)
        await backend.job(job.job_id)
        await backend.retry(job.job_id)
        await backend.cancel(job_id=job.job_id)
    await backend.jobs(task="mail", before="j", states=[JobState.FAILED, JobState.RUNNING])
    await backend.purge({JobState.SUCCEEDED: timedelta(1), JobState.FAILED: timedelta(1)})
    await backend.advice()
    await backend.reset("a", NOW)


def hashes(data: bytes) -> None:
    """What a Redis server answers is read, or a `BackendError`."""
    bytes_ = Bytes(data)
    run = {name: bytes_.text(WORDS, 2) if bytes_.one() % 4 else GOOD_RUN.get(name) for name in RUN}
    job = {name: bytes_.value(WORDS, 1) if bytes_.one() % 4 else GOOD_JOB.get(name) for name in JOB}
    state: dict[str, Any] = {"mark": "1", "running": bytes_.value(WORDS, 1), "last": bytes_.pick((run, "x", 5, []))}
    state |= {name: bytes_.value(WORDS, 1) for name in ("mark", "back", "paused", "claims") if bytes_.one() % 2}
    readings: list[tuple[Callable[[Any], object], Any]] = [(run_of, run), (job_of, job)]
    readings += [(read, bytes_.value(WORDS)) for read in (run_of, job_of)]
    for read, kept in readings:
        try:
            read(kept)
        except BackendError as error:
            assert_is_a_line(error)
    try:
        found = state_of("a", state)
        plan(found, found)
    except BackendError as error:
        assert_is_a_line(error)


GOOD_RUN = {"run_id": "r", "name": "a", "slot": "1", "fence": "1", "attempt": "1", "worker": "w", "started": "1"}
GOOD_JOB = {"job_id": "i", "task": "mail", "arguments": "{}", "state": "pending", "due": "1", "created": "1"}
