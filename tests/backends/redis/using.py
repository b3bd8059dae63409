"""Backends on a server, by whose clock they go."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import redis_rights
from redis_server import shared

from pseudocron.backends.model import State
from pseudocron.backends.questions import Capacity, Claim, End, Manual, NewJob, Plan, Poll, Take
from pseudocron.backends.redis.backend import Redis
from pseudocron.backends.redis.client import from_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LEASE = 30.0


def now() -> datetime:
    return datetime.now(UTC)


def made(store: Any, app: str, **options: Any) -> Redis:
    """Return a backend; on the server that tests share as the user with few rights that the reference describes."""
    name = f"Redis at {store}"
    if store == shared().url:
        redis_rights.give(shared(), app)
        store = store.replace("//", f"//{app}:{redis_rights.PASSWORD}@")
    make_client = store if callable(store) else from_url(store)
    return Redis(make_client, name=name, app=app, **options)


@asynccontextmanager
async def opened(store: Any, app: str, **options: Any) -> AsyncIterator[Redis]:
    backend = made(store, app, **options)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def take(total: int = 10, **options: Any) -> Take:
    return Take({"send": None}, {"mail": 9}, Capacity(total, total, total), "me", LEASE, **options)


def job(**options: Any) -> NewJob:
    return NewJob(**{"run_id": uuid4().hex, "task": "send", "arguments": "{}", "due": now(), **options})


async def defer(backend: Redis, *jobs: NewJob) -> list[str]:
    return list(await backend.defer(jobs or [job()]))


async def claim(backend: Redis) -> Claim:
    """Claim a run by hand."""
    claimed = await backend.start(Manual("mail", "me", LEASE, 9))
    assert isinstance(claimed, Claim)
    return claimed


async def claim_jobs(backend: Redis, total: int = 10) -> list[Claim]:
    polled = await backend.poll(Poll(take(total), force=True))
    assert polled is not None
    return list(polled.claims)


async def claim_slot(backend: Redis, slot: datetime | None = None) -> Claim:
    slot = slot or now() - timedelta(seconds=1)
    state = (await backend.states(["mail"])).crons["mail"]
    plan = Plan("mail", state.mark, state.since or slot - timedelta(days=1), [slot])
    polled = await backend.poll(Poll(take(), [plan], force=True))
    assert polled is not None
    (claimed,) = polled.claims
    return claimed


async def end(backend: Redis, claimed: Claim, outcome: State = State.SUCCEEDED, **options: Any) -> State | None:
    (state,) = (await backend.finish([End(claimed, outcome, **options)])).states
    return state
