"""Tells hooks what happened, one after the other and in order; what they raise, or never end, harms nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from pseudocron.backends.records import Outcome
from pseudocron.context import CurrentRun
from pseudocron.executors import Call, execute
from pseudocron.log import logger
from pseudocron.targets import Function

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pseudocron.hooks import Event, Happening, Hook, Hooks

PATIENCE = 10.0
"""Seconds that a hook has for one event; then it is cancelled, or, in its thread, left alone."""

GATHERED = 1000
"""How many events may wait for one hook; those beyond it are lost to it."""

DRAIN = 2.0
"""Seconds that hooks have to end in at a shutdown, when the runs are over."""


class Post:
    """Brings the events of one process's runs to the hooks."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line] = {}
        self._delivering: set[asyncio.Task[None]] = set()

    @property
    def delivering(self) -> frozenset[asyncio.Task[None]]:
        """What is being told."""
        return frozenset(self._delivering)

    def tell(self, hooks: Hooks, kind: Happening, event: Callable[[Happening], Event]) -> None:
        """Tell whoever wants to know of this; without waiting.

        Args:
            hooks: Who may want to know.
            kind: What happened.
            event: Makes the event, if somebody does.
        """
        told = hooks.told(kind)
        if not told:
            return
        happened = event(kind)
        for hook in told:
            if hook.swift:
                _tell_at_once(hook, happened)
            else:
                self._post(hook, happened)

    def _post(self, hook: Hook, event: Event) -> None:
        if (line := self._lines.get(hook.line)) is None:
            line = self._lines[hook.line] = _Line(hook)
        if line.takes(event):
            task = asyncio.create_task(line.deliver())
            self._delivering.add(task)
            task.add_done_callback(self._delivering.discard)
            task.add_done_callback(lambda _: self._forget(hook))

    def _forget(self, hook: Hook) -> None:
        """A line at whose end nobody waits is made anew: hooks come and go with a configuration that is read again."""
        if (line := self._lines.get(hook.line)) is not None and line.is_over():
            del self._lines[hook.line]

    async def drain(self, seconds: float = DRAIN) -> None:
        """Wait until all is told, or the seconds are over."""
        if self._delivering:
            await asyncio.wait(self._delivering, timeout=seconds)
        for task in self.delivering:
            task.cancel()


class _Line:
    """The events that wait for one hook, which gets them one at a time."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._target = Function(hook.call, hook.name)
        self._waiting: deque[Event] = deque()
        self._lost = 0
        self._busy = False
        self._stuck: asyncio.Future[None] | None = None

    def takes(self, event: Event) -> bool:
        """Let an event wait; whether somebody has to start delivering."""
        if len(self._waiting) == GATHERED or self._is_stuck():
            self._lost += 1
            return False
        self._waiting.append(event)
        starts, self._busy = not self._busy, True
        return starts

    def is_over(self) -> bool:
        """Whether there is nothing to remember of it."""
        return not (self._busy or self._lost or self._is_stuck())

    def _is_stuck(self) -> bool:
        """Whether the hook is still at an event for which it had its time: nothing is to gather behind it."""
        return self._stuck is not None and not self._stuck.done()

    async def deliver(self) -> None:
        """Until nothing waits any more."""
        try:
            while self._waiting:
                await self._tell(self._waiting.popleft())
        finally:
            self._busy = False

    async def _tell(self, event: Event) -> None:
        if self._lost:
            logger.error(
                "hook %s: was not told of so many events, as it took its time: %d", self._hook.name, self._lost
            )
            self._lost = 0
        ended = await execute(
            Call(target=self._target, args=(event,), kwargs={}, process=False, timeout=PATIENCE), _run(event)
        )
        if ended.result.outcome is not Outcome.SUCCEEDED:
            logger.error("hook %s: %s of %s:\n%s", self._hook.name, event.kind, event.name, ended.result.error)
        if ended.lingering is not None:
            self._stuck = ended.lingering.future
            self._lost += len(self._waiting)
            self._waiting.clear()


def _tell_at_once(hook: Hook, event: Event) -> None:
    try:
        hook.call(event)
    except Exception:
        logger.exception("hook %s: %s of %s", hook.name, event.kind, event.name)


def _run(event: Event) -> CurrentRun:
    """What `current_run()` says in a hook."""
    return CurrentRun(
        name=event.name, slot=event.slot, fence=event.fence, attempt=event.attempt, run_id=event.run_id or ""
    )
