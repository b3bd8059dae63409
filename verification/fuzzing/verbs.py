"""All verbs of a store, called as a process calls them, and the kinds of what they return."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from pseudocron.backends import model, questions
from pseudocron.backends.model import CronState, Kind, Reason, Skip, State, Waited
from pseudocron.backends.questions import Capacity, Claim, End, Manual, NewJob, Plan, Poll, Take, Where
from pseudocron.cron import Cron
from pseudocron.errors import JobConflictError
from pseudocron.report import history_of, status_of
from pseudocron.schedule import parse
from pseudocron.targets import Function
from pseudocron.worker.due import overdue, plan
from verification.fuzzing.parsers import crons

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pseudocron.backends.contract import Backend

    Verb = Callable[[Backend, datetime], Awaitable[object]]

SECOND = timedelta(seconds=1)
TARGET = Function(len, "builtins:len")
CRONS = {
    "a": Cron(name="a", target=TARGET, schedule=parse("5 * * * *"), jitter=9.0, at_least_once=True),
    "b": Cron(name="b", target=TARGET, schedule=parse(60), coalesce=False),
    "c": Cron(name="c", target=TARGET, schedule=parse("* * * * *"), max_instances=3),
}


def taking(*, tasks: Mapping[str, int | None] | None = None) -> Take:
    return Take(tasks or {"mail": 9}, {"a": 1, "b": 1, "c": 3}, Capacity(9, 9, 9), "me", 30)


def plans_of(states: Mapping[str, CronState], now: datetime) -> list[Plan]:
    """Return the plans of these crons, and read their states for people."""
    plans = []
    for name, state in states.items():
        cron = CRONS[name]
        waited = Waited(request=1.0)
        planned = plan(cron, state, now, since=now - timedelta(hours=3))
        plans.append(planned._replace(waited=[waited for _ in planned.slots]))
        overdue(cron, state, now, cron_max_time=60)
        status_of(cron, state, None, now)
    return plans


async def fill(backend: Backend, now: datetime) -> None:
    """Store something of each kind: runs in each state, with leases, keys and earlier attempts, and skips."""
    states = (await backend.states(list(CRONS))).crons
    missed = Skip("b", now - 60 * SECOND, Reason.NO_TRAFFIC, slots=3, first=now - 180 * SECOND)
    planned = await asyncio.to_thread(plans_of, states, now)
    plans = [one._replace(skips=[missed] if one.name == "b" else []) for one in planned]
    await backend.defer([job(f"j{n}", now, key=f"k{n}", priority=n) for n in range(4)])
    polled = await backend.poll(Poll(taking(), plans, force=True))
    assert polled
    claims = {claim.name if claim.slot else claim.run_id: claim for claim in polled.claims}
    await backend.finish(
        [
            End(claims["a"], State.FAILED, now, error="x\ny"),
            End(claims["j0"], State.FAILED, reason="failed", error="x", output="y"),
            End(claims["j1"], State.TIMED_OUT, reason="timed_out", goes_on=True),
            End(claims["j2"], State.FAILED, now, counts=False, unfit=True),
        ]
    )
    await backend.start(Manual("c", "me", 3600, 3))
    await backend.defer([job("later", now + 60 * SECOND, key="k"), job("old", now, expires=now - SECOND)])
    await backend.defer([job("other", now, task="fax")])
    overlap = Skip("a", now, Reason.OVERLAP, blockers=(model.Blocker("r", "w"),))
    mark = (await backend.states(["a"])).crons["a"].mark
    await backend.poll(Poll(taking(tasks={"paint": 1}), [Plan("a", mark, now, skips=[overlap])], force=True))
    await backend.advice()


def job(run_id: str, due: datetime, task: str = "mail", **options: Any) -> NewJob:
    return NewJob(run_id, task, '{"to": 1}', due, **options)


# The verbs, in groups of those that need one another


async def look(backend: Backend, now: datetime) -> object:
    states = await backend.states(list(CRONS))
    return [await backend.stale_in(), states, await asyncio.to_thread(plans_of, states.crons, now)]


async def poll_as_planned(backend: Backend, now: datetime) -> object:
    states = (await backend.states(list(CRONS))).crons
    plans = await asyncio.to_thread(plans_of, states, now)
    polled = await backend.poll(Poll(taking(), plans, [of("j3"), of("r", Kind.SLOT)], force=True))
    # A name may be another's when it was harmed; the worker calls nothing but what is registered.
    assert polled is None or all(isinstance(claim.name, str) for claim in polled.claims)
    return polled


async def poll_unplanned(backend: Backend, now: datetime) -> object:
    return await backend.poll(Poll(taking(), force=True))


async def run_all(backend: Backend, now: datetime) -> object:
    running = await backend.runs(Where(states=[State.RUNNING]))
    answers: list[object] = []
    for one in running:
        claim = of(one.run_id, one.kind, one.name)._replace(fence=one.fence)
        if one.kind is Kind.JOB:
            with suppress(Exception):
                crons.tasks["paint"]._unpack(one.arguments or "")
        answers.append(await backend.finish([End(claim, State.FAILED, now, error="x", goes_on=True)], taking()))
        await backend.release([claim])
    return answers


async def end_what_is_not_there(backend: Backend, now: datetime) -> object:
    ends = [End(of("j3"), State.SUCCEEDED), End(of("j1"), State.FAILED, now), End(of("none"), State.SUCCEEDED)]
    renewed = await asyncio.to_thread(backend.renew, [of("j1"), of("none")], 30)
    return [await backend.finish(ends, taking()), renewed]


async def defer(backend: Backend, now: datetime) -> object:
    ids = [*await backend.defer([job("new", now, key="k"), job("new2", now, key="k3")])]
    with suppress(JobConflictError):
        await backend.defer([job("new3", now, key="k", on_conflict=model.Conflict.RAISE)])
    kept = job("new4", now, on_conflict=model.Conflict.KEEP, key="k2")
    return [ids, await asyncio.to_thread(backend.defer_blocking, [kept])]


async def start(backend: Backend, now: datetime) -> object:
    return [await backend.start(Manual(name, "me", 30, 9)) for name in CRONS]


async def list_runs(backend: Backend, now: datetime) -> object:
    return [
        await backend.runs(Where()),
        await backend.runs(Where(states=[State.FAILED, State.RUNNING], name="mail"), before="j2"),
        await backend.runs(Where(is_kept=True)),
        await backend.run("j1"),
        await history_of(backend, "a", limit=20),
        await backend.timelines(),
        await backend.timelines(["a"]),
    ]


async def count(backend: Backend, now: datetime) -> object:
    return [await backend.counts(), await backend.waiting(), await backend.advice()]


async def cancel(backend: Backend, now: datetime) -> object:
    for run in await backend.runs(Where(states=[State.PENDING])):
        await backend.cancel(run_id=run.run_id)
    return await backend.cancel(task="mail", key="k1")


async def retry(backend: Backend, now: datetime) -> object:
    return [await backend.retry(run_id) for run_id in ("j0", "j1", "none")]


async def manage(backend: Backend, now: datetime) -> object:
    for name in CRONS:
        await backend.pause(name, paused=True)
        await backend.pause(name, paused=False)
        await backend.reset(name, now)
    return await backend.purge(dict.fromkeys(State, SECOND))


READING: Sequence[Verb] = (look, list_runs, count)
ALL: Sequence[Verb] = (
    *READING,
    poll_as_planned,
    poll_unplanned,
    run_all,
    end_what_is_not_there,
    defer,
    start,
    cancel,
    retry,
    manage,
    *READING,
)


def of(run_id: str, kind: Kind = Kind.JOB, name: str = "mail") -> Claim:
    now = datetime.now().astimezone()
    return Claim(run_id, kind, name, now, 1, 1, 0, now)


# What they return


@cache
def hints(of: type) -> Mapping[str, Any]:
    names = {"datetime": datetime, "Mapping": Mapping, "Sequence": Sequence, "Collection": Sequence}
    return get_type_hints(of, {**vars(model), **vars(questions), **names})


def examine(answer: object) -> None:
    """Fail unless all records in an answer hold what they promise."""
    if isinstance(answer, tuple) and hasattr(answer, "_fields"):
        for name, hint in hints(type(answer)).items():
            value = getattr(answer, name)
            assert fits(value, hint), f"{type(answer).__name__}.{name} is {value!r:.100}, must be {hint}"
            examine(value)
    elif isinstance(answer, Mapping):
        examine(list(answer.values()))
    elif isinstance(answer, list | tuple):
        for one in answer:
            examine(one)


def fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is UnionType:
        return any(fits(value, one) for one in get_args(hint))
    kind = get_origin(hint) or hint
    if kind is float:
        return isinstance(value, int | float)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, AbstractSet | Sequence) if kind is Sequence else isinstance(value, kind)
