"""How answers get to their callers: event loops that listen to a connection, and those that others read for."""

from __future__ import annotations

import os
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

from pseudocron.clock import monotonic

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from pseudocron.backends.redis.calls import Request
    from pseudocron.backends.redis.duplex import Duplex

    Loop = asyncio.AbstractEventLoop
    Answered = tuple["Call", Any]


class Call:
    """A request on its way.

    Args:
        request: What is asked.
        packed: The same, as it is sent.
        answered: Takes the answer, or an exception.
        loop: Where `answered` is called; in the thread that reads if None.
    """

    __slots__ = ("answered", "attempts", "given_up", "loop", "packed", "request", "sent", "timer")

    def __init__(
        self, request: Request, packed: bytes, answered: Callable[[Any], None], loop: Loop | None = None
    ) -> None:
        self.request = request
        self.packed = packed
        self.answered = answered
        self.loop = loop
        self.sent = monotonic()
        self.attempts = 0
        self.given_up = False
        self.timer: asyncio.TimerHandle | None = None

    def give_up(self) -> None:
        """Let the caller have no answer."""
        self.given_up = True
        self.answered(TimeoutError())

    def settle(self, answer: Any) -> None:
        """Let the caller have the answer."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.given_up:
            self.answered(answer)


def hand_over(answers: Sequence[Answered], here: Loop | None = None) -> None:
    """Let callers have their answers, all those of another event loop at once.

    Args:
        answers: The answers.
        here: The event loop that this is called on.
    """
    elsewhere: dict[Loop, list[Answered]] = {}
    for call, answer in answers:
        if call.loop is None or call.loop is here:
            call.settle(answer)
        else:
            elsewhere.setdefault(call.loop, []).append((call, answer))
    for loop, those in elsewhere.items():
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(hand_over, those, loop)


class Listeners:
    """The event loops that read a connection.

    Each has a descriptor of its own, which it closes itself: a loop that listens to one that was closed elsewhere
    would confuse it with the next of that number.

    Args:
        read: Reads what has come, on a loop; returns whether it is to listen on.
    """

    def __init__(self, read: Callable[[Loop, Duplex], bool]) -> None:
        self._read = read
        self._by_loop: dict[Loop, tuple[Duplex, int]] = {}

    def listen(self, loop: Loop, link: Duplex) -> None:
        """Let the running event loop read a connection, if it does not."""
        known = self._by_loop.get(loop)
        if known is not None and known[0] is link:
            return
        if known is not None:
            self._stop(loop, known)
        self._forget_closed()
        try:
            descriptor = os.dup(link.fileno())
        except OSError:  # it is closed already
            return
        try:
            # In a context of its own: that of the request which happens to call first would live as long.
            Context().run(loop.add_reader, descriptor, self._come, loop, link, descriptor)
        except NotImplementedError:  # the thread reads for it, when it is late
            os.close(descriptor)
        else:
            self._by_loop[loop] = link, descriptor

    def listen_from_elsewhere(self, loop: Loop, link: Duplex) -> None:
        """Let another thread's event loop read a connection."""
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self.listen, loop, link)

    def _come(self, loop: Loop, link: Duplex, descriptor: int) -> None:
        if not self._read(loop, link):
            self._stop(loop, (link, descriptor))

    def _stop(self, loop: Loop, listener: tuple[Duplex, int]) -> None:
        if self._by_loop.get(loop) == listener:
            del self._by_loop[loop]
            loop.remove_reader(listener[1])
            os.close(listener[1])

    def _forget_closed(self) -> None:
        for loop, (_, descriptor) in tuple(self._by_loop.items()):
            if loop.is_closed() and self._by_loop.pop(loop, None) is not None:
                os.close(descriptor)

    def stop(self) -> None:
        """Let no event loop read on."""
        self._forget_closed()
        for loop, listener in tuple(self._by_loop.items()):
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._stop, loop, listener)
