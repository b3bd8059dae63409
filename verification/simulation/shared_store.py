"""The store that all simulated processes share, and what a poll leaves of it whose process dies in the middle."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from pseudocron.backends.file import polls
from pseudocron.backends.file.backend import Memory
from pseudocron.backends.legible import instant
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from pseudocron.backends.questions import Poll, Polled


class Tear(StrEnum):
    """Where in a poll of the store its process dies."""

    ENTERED = "entered"  # the gate is entered, and no more
    LOWERED = "lowered"  # the gate is brought forward, and the transaction is rolled back
    COMMITTED = "committed"  # the transaction is committed, and the gate not dated


class SharedStore:
    """A store by its own clock, in the SQL of production, of which each process has a backend of its own.

    Args:
        clock: The clock of the store.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self._memory = Memory(host=Host(now=clock))

    def backend(self, cron_max_time: float) -> Memory:
        backend = Memory(host=Host(now=self.clock), shared=self._memory, cron_max_time=cron_max_time)
        at_once(backend.open())
        return backend

    def dated(self) -> datetime | None:
        """Return when the gate turns stale; None if it has never been dated."""
        dated = self._memory._gate.dated()
        return None if dated is None else instant(dated)


class _DiedError(BaseException):
    """Nothing of the product may catch it."""


def tear(backend: Memory, poll: Poll, where: Tear) -> Polled | None:
    """Let a process die in a poll.

    Returns:
        What was stored; None if nothing was.
    """
    stored: list[Polled] = []
    original, changes = polls.poll, 0

    def noted(txn: Any, asked: Poll) -> tuple[Polled, int]:
        nonlocal changes
        before = txn.db.total_changes
        polled, due = original(txn, asked)
        stored.append(polled)
        changes = txn.db.total_changes - before
        return polled, due

    def die(*_: Any, **__: Any) -> None:
        raise _DiedError

    def lower(txn: Any) -> None:
        backend._committing(txn)
        if changes:  # or else there is nothing to roll back, and the gate is dated
            stored.clear()
        die()

    points = {
        Tear.ENTERED: (backend, "_entered", die),
        Tear.LOWERED: (backend._store, "_committing", lower),
        Tear.COMMITTED: (backend, "_put_off", die),
    }
    with ExitStack() as patches, suppress(_DiedError):
        patches.enter_context(patch.object(polls, "poll", noted))
        patches.enter_context(patch.object(*points[where]))
        at_once(backend.poll(poll))
    return stored[0] if stored else None


def at_once(verb: Coroutine[Any, Any, Any]) -> Any:
    """Return what a verb returns that never waits for anything."""
    try:
        verb.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError(f"{verb} waits")
