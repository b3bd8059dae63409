"""Backends on a server, for tests that own no clock."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pseudocron.backends import connect
from pseudocron.backends.jobs import NewJob
from pseudocron.backends.records import Claim, Proposal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pseudocron.backends.base import Backend
    from pseudocron.backends.records import Refusal

LEASE = 30.0


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def opened(url: Any, app: str) -> AsyncIterator[Backend]:
    backend = await asyncio.to_thread(connect, url, app=app, folder=Path())
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


async def propose(backend: Backend, slot: datetime, *, lease: float = LEASE, **options: Any) -> Claim | Refusal:
    return await backend.claim(Proposal(name="mail", slot=slot, worker="me", lease=lease, max_instances=9, **options))


async def claim(backend: Backend, slot: datetime | None = None, **options: Any) -> Claim:
    granted = await propose(backend, slot or now() - timedelta(seconds=1), **options)
    assert isinstance(granted, Claim)
    return granted


def job(**options: Any) -> NewJob:
    return NewJob(**{"job_id": uuid4().hex, "task": "send", "arguments": "{}", "due": now(), **options})


async def defer(backend: Backend, *jobs: NewJob) -> list[str]:
    return list(await backend.defer(jobs or [job()], max_age=60))


async def claim_jobs(backend: Backend, limit: int = 10) -> list[Any]:
    return list(await backend.claim_jobs({"send": None}, limit=limit, worker="me", lease=LEASE))
