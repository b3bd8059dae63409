"""A process that is killed at any point of a verb loses nothing, and leaves no gate that is too fresh."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backends.file.helpers import TAKE, job
from pseudocron.backends import rules
from pseudocron.backends.file import commits, earliest
from pseudocron.backends.file import gate as gates
from pseudocron.backends.file.backend import File
from pseudocron.backends.model import State
from pseudocron.backends.questions import Claim, End, Manual, Poll, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECOND = 1_000_000
POINTS = ["enter", "date", "dated", "committing", "committed", "put_off", "delivered"]


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(backend: File, point: str) -> None:
    """Let this process be killed when it comes to a point of its next verb."""
    gate, store = backend._gate, backend._store
    committing, date = store._committing, gate.date

    def dated(due: int) -> None:
        date(due)
        die()

    def committed(txn: Any) -> None:
        committing(txn)
        die()

    patches: dict[str, tuple[object, str, Callable[..., object]]] = {
        "enter": (gates, "enter", die),
        "date": (gate, "date", die),
        "dated": (gate, "date", dated),
        "committing": (store, "_committing", die),
        "committed": (store, "_committing", committed),
        "put_off": (backend, "_put_off", die),
        "delivered": (commits, "deliver", die),
    }
    target, name, change = patches[point]
    setattr(target, name, change)


async def defer(backend: File, _: Claim) -> object:
    return await backend.defer([job()])


async def finish(backend: File, claim: Claim) -> object:
    return await backend.finish([End(claim, State.SUCCEEDED)], TAKE)


async def start(backend: File, _: Claim) -> object:
    return await backend.start(Manual("tick", "host:1", 1.0))


async def poll(backend: File, _: Claim) -> object:
    return await backend.poll(Poll(TAKE, force=True))


async def renew(backend: File, claim: Claim) -> object:
    return backend.renew([claim], 0.5)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[File]:
    backend = File(tmp_path / "store")
    asyncio.run(backend.open())
    yield backend
    asyncio.run(backend.close())


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("verb", [defer, finish, start, poll, renew])
def test_a_killed_process_leaves_no_gate_that_is_too_fresh(
    backend: File, verb: Callable[[File, Claim], Any], point: str
) -> None:
    only = TAKE._replace(tasks={"mail": 1})
    asyncio.run(backend.poll(Poll(only)))
    first, second = job(), job()
    asyncio.run(backend.defer([first, second]))
    polled = asyncio.run(backend.poll(Poll(only)))
    assert polled is not None
    (claim,) = polled.claims
    child = os.fork()
    if not child:
        try:
            kill_at(backend, point)
            asyncio.run(verb(backend, claim))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    entered = time.time() * SECOND + rules.ENTERED_FOR * SECOND if verb is poll else 0.0
    law = asyncio.run(backend._commit(earliest.earliest))
    dated = backend._gate.dated()
    assert dated is not None
    assert dated <= max(law, entered)
    stored = {run.run_id for run in asyncio.run(backend.runs(Where()))}
    assert {first.run_id, second.run_id} <= stored
    assert asyncio.run(backend.poll(Poll(TAKE, force=True))) is not None


def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_commits(backend: File, tmp_path: Path) -> None:
    acknowledged = tmp_path / "acknowledged"
    child = os.fork()
    if not child:
        try:
            asyncio.run(_defer_for_ever(backend, acknowledged))
        finally:
            os._exit(1)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (not acknowledged.exists() or acknowledged.stat().st_size < 100 * 33):
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    ids = set(acknowledged.read_text(encoding="ascii").split("\n")[:-1])
    assert len(ids) >= 100
    stored = {run.run_id for run in asyncio.run(backend.runs(Where(), 1_000_000))}
    assert ids <= stored
    assert len(stored - ids) <= 64  # of those no caller had the answer yet


async def _defer_for_ever(backend: File, acknowledged: Path) -> None:
    with acknowledged.open("a", encoding="ascii") as file:

        async def defer() -> None:
            while True:
                (run_id,) = await backend.defer([job()])
                file.write(f"{run_id}\n")
                file.flush()

        await asyncio.gather(*(defer() for _ in range(64)))
