"""Short words for the verbs of a backend, for tests that own no clock."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pseudocron.backends import DEFAULT_APP, connect
from pseudocron.backends.model import Kind, Run, Skip, State
from pseudocron.backends.questions import Capacity, Claim, End, NewJob, Plan, Poll, Polled, Take
from pseudocron.backends.questions import Where as Condition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from pseudocron.backends.contract import Backend

LEASE = 30.0
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def opened(store: Any, app: str = DEFAULT_APP, *, folder: Path = Path()) -> AsyncIterator[Backend]:
    """A store until the block ends."""
    backend = await asyncio.to_thread(connect, store, app=app, folder=folder)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def take(
    total: int = 10,
    *,
    tasks: Mapping[str, int | None] | None = None,
    crons: Mapping[str, int] | None = None,
    worker: str = "me",
    lease: float = LEASE,
) -> Take:
    """What a process may claim; if not given, any number of the task `send`, and nine runs of the cron `mail`."""
    capacity = Capacity(total, total, total)
    return Take({"send": None} if tasks is None else tasks, crons or {"mail": 9}, capacity, worker, lease)


async def poll(backend: Backend, *plans: Plan, total: int = 10, **options: Any) -> Polled:
    """Poll, whether the gate is stale or not."""
    polled = await backend.poll(Poll(take(total, **options), plans, force=True))
    assert polled is not None
    return polled


async def plan(backend: Backend, *slots: datetime, name: str = "mail", **options: Any) -> Plan:
    """A plan of these slots, from the state of the cron as it is now."""
    state = (await backend.states([name])).crons[name]
    known: dict[str, Any] = {"mark": state.mark, "since": state.since or now() - HOUR, "next": now() + HOUR}
    return Plan(**{"name": name, "slots": slots, "coalesce": False, **known, **options})


async def claim(backend: Backend, slot: datetime | None = None, **options: Any) -> Claim:
    """Claim a slot of the cron `mail`: the last second, if none is given."""
    planned = await plan(backend, slot or now() - SECOND)
    (granted,) = [one for one in (await poll(backend, planned, **options)).claims if one.slot in planned.slots]
    return granted


async def claim_at(backend: Backend, slot: datetime, *, name: str = "mail", **options: Any) -> Claim:
    """The same, where the test owns the clock."""
    planned = await plan(backend, slot, name=name, since=slot - HOUR, next=slot + HOUR)
    (granted,) = (await poll(backend, planned, **options)).claims
    return granted


def job(**options: Any) -> NewJob:
    return NewJob(**{"run_id": uuid4().hex, "task": "send", "arguments": "{}", "due": now(), **options})


async def defer(backend: Backend, *jobs: NewJob) -> list[str]:
    """Defer jobs; one, if none is given."""
    return list(await backend.defer(jobs or [job()]))


async def claim_jobs(backend: Backend, limit: int = 10) -> list[Claim]:
    return [one for one in (await poll(backend, total=limit)).claims if one.kind is Kind.JOB]


async def finish(backend: Backend, claim: Claim, outcome: State = State.SUCCEEDED, **options: Any) -> State | None:
    (state,) = (await backend.finish([End(claim, outcome, **options)])).states
    return state


async def jobs(backend: Backend, *states: State, limit: int = 100_000) -> Sequence[Run]:
    """The jobs, the last stored first."""
    return await backend.runs(Condition(states=states, kinds={Kind.JOB}), limit)


async def runs_of(backend: Backend, name: str = "mail") -> list[Run]:
    """The runs of a cron, newest first."""
    lines = (await backend.timelines([name], 100_000)).get(name, ())
    return [line for line in lines if isinstance(line, Run)]


async def skips_of(backend: Backend, name: str = "mail") -> list[Skip]:
    """The skips of a cron, newest first."""
    lines = (await backend.timelines([name], 100_000)).get(name, ())
    return [line for line in lines if isinstance(line, Skip)]
