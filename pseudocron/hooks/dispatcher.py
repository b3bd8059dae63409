"""Dispatcher of events: calls each hook with one event at a time, in order, and survives what hooks raise."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from pseudocron.backends.model import State
from pseudocron.context import CurrentRun
from pseudocron.executors import Call, execute
from pseudocron.log import logger
from pseudocron.targets import Function

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pseudocron.hooks import Event, EventKind, Hook, Hooks

HOOK_TIMEOUT = 10.0
"""Seconds that a hook has for one event. Then it is cancelled; a thread continues, and its hook gets no events."""

QUEUE_SIZE = 1000
"""Maximum number of events that wait for one hook; further ones are dropped."""

DRAIN = 2.0
"""Seconds that hooks have to finish at a shutdown, after the runs have ended."""


class Dispatcher:
    """Delivers the events of the runs of one process to hooks."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, _Queue] = {}
        self._delivering: set[asyncio.Task[None]] = set()

    @property
    def delivering(self) -> frozenset[asyncio.Task[None]]:
        """The tasks that call hooks now."""
        return frozenset(self._delivering)

    def dispatch(self, hooks: Hooks, kind: EventKind, event: Callable[[EventKind], Event]) -> None:
        """Send an event to the hooks of its kind, without waiting for them.

        Args:
            hooks: All hooks of the cron or task.
            kind: Kind of the event.
            event: Makes the event; called only if there are hooks of this kind.
        """
        found = hooks.of_kind(kind)
        if not found:
            return
        happened = event(kind)
        for hook in found:
            if hook.inline:
                _call_inline(hook, happened)
            else:
                self._enqueue(hook, happened)

    def _enqueue(self, hook: Hook, event: Event) -> None:
        if (queue := self._queues.get(hook.queue)) is None:
            queue = self._queues[hook.queue] = _Queue(hook)
        if queue.put(event):
            task = asyncio.create_task(queue.deliver())
            self._delivering.add(task)
            task.add_done_callback(self._delivering.discard)
            task.add_done_callback(lambda _: self._forget(hook))

    def _forget(self, hook: Hook) -> None:
        """Remove a queue that is empty: a configuration that is read again brings new hooks."""
        if (queue := self._queues.get(hook.queue)) is not None and queue.is_over():
            del self._queues[hook.queue]

    async def drain(self, seconds: float = DRAIN) -> None:
        """Wait until all events are delivered, at most for some seconds."""
        if self._delivering:
            await asyncio.wait(self._delivering, timeout=seconds)
        for task in self.delivering:
            task.cancel()


class _Queue:
    """The events that wait for one hook, which gets them one at a time."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._target = Function(hook.call, hook.name)
        self._waiting: deque[Event] = deque()
        self._dropped = 0
        self._busy = False
        self._stuck: asyncio.Future[None] | None = None

    def put(self, event: Event) -> bool:
        """Add an event, or drop it.

        Returns:
            Whether `deliver` has to be started.
        """
        if len(self._waiting) == QUEUE_SIZE or self._is_stuck():
            self._dropped += 1
            return False
        self._waiting.append(event)
        starts, self._busy = not self._busy, True
        return starts

    def is_over(self) -> bool:
        """Return whether the queue has no state to keep."""
        return not (self._busy or self._dropped or self._is_stuck())

    def _is_stuck(self) -> bool:
        """Return whether the thread of the hook still runs after its timeout: no events may wait behind it."""
        return self._stuck is not None and not self._stuck.done()

    async def deliver(self) -> None:
        """Call the hook until no event waits any more."""
        try:
            while self._waiting:
                await self._call(self._waiting.popleft())
        finally:
            self._busy = False

    async def _call(self, event: Event) -> None:
        if self._dropped:
            logger.error("hook %s: too slow, %d events dropped", self._hook.name, self._dropped)
            self._dropped = 0
        ended = await execute(
            Call(target=self._target, args=(event,), kwargs={}, process=False, timeout=HOOK_TIMEOUT), _run(event)
        )
        if ended.outcome is not State.SUCCEEDED:
            logger.error("hook %s: %s of %s:\n%s", self._hook.name, event.kind, event.name, ended.error)
        if ended.lingering is not None:
            self._stuck = ended.lingering.future
            self._dropped += len(self._waiting)
            self._waiting.clear()


def _call_inline(hook: Hook, event: Event) -> None:
    try:
        hook.call(event)
    except Exception:
        logger.exception("hook %s: %s of %s", hook.name, event.kind, event.name)


def _run(event: Event) -> CurrentRun:
    """Return what `current_run()` returns in a hook."""
    return CurrentRun(
        name=event.name, slot=event.slot, fence=event.fence, attempt=event.attempt, run_id=event.run_id or ""
    )
