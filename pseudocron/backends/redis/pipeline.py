"""One connection to a Redis server for all calls of a process: each is sent at once, and answered in its turn."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as NoAnswer

from pseudocron.backends.redis.calls import CLOSE_WITHIN, PAUSES, Calls
from pseudocron.backends.redis.delivery import Call, Listeners, hand_over
from pseudocron.backends.redis.duplex import Duplex, NothingYetError, Waker
from pseudocron.backends.redis.messages import is_passing, is_read_only
from pseudocron.backends.redis.protocol import Protocol
from pseudocron.clock import monotonic

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from redis import Redis

    from pseudocron.backends.redis.calls import Request
    from pseudocron.backends.redis.delivery import Answered

LATE = 0.25
"""Seconds after which the thread reads an answer that no event loop has read: that may be blocked, or gone."""


class Pipeline(Calls):
    """The calls of a process, from any thread and event loop.

    The caller encodes its call and sends it; nothing waits. An event loop that has called reads what comes, as it does
    with its own sockets: no other thread need be woken. One thread of ours connects, sends what a full buffer has not
    taken, gives up a connection that is silent, and reads for callers that block.

    Args:
        client: Knows how to connect, how to encode and how to read: all of the protocol is the client's.
        closed: Makes the error for a caller while the thread does not live.
    """

    def __init__(self, client: Redis, closed: Callable[[], Exception]) -> None:
        self._closed = closed
        self._protocol = Protocol(client, self._on_socket)
        self._lock = threading.Lock()  # of the calls and their order, for microseconds
        self._reading = threading.Lock()  # of what has come, for as long as it takes to parse that
        self._calls: deque[Call] = deque()
        self._blocked = 0  # callers that the thread reads for
        self._link: Duplex | None = None
        self._broken: Exception | None = None
        self._listeners = Listeners(self._read_on_loop)
        self._sleeps = self._ended = False
        self._heard = 0.0
        self._waker = Waker()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pseudocron-redis", daemon=True)

    @property
    def is_running(self) -> bool:
        """See `Calls.is_running`."""
        return not self._ended

    def start(self) -> None:
        """See `Calls.start`."""
        self._thread.start()

    def stop(self) -> None:
        """See `Calls.stop`."""
        with self._lock:
            self._ended = True
        self._ending.set()
        self._waker.wake()
        self._thread.join(CLOSE_WITHIN)
        self._fail(self._closed())

    # For callers

    async def run(self, request: Request, within: float) -> Any:
        """See `Calls.run`."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ask(request, within, partial(_set, answer))
        return await answer

    def ask(self, request: Request, within: float, answered: Callable[[Any], None]) -> None:
        """Send a request from an event loop, on which `answered` is called with its answer or an exception.

        Args:
            request: What is asked.
            within: Seconds after which there is a `TimeoutError` instead of an answer.
            answered: Is called once.
        """
        loop = asyncio.get_running_loop()
        call = Call(request, self._protocol.pack(request.words), answered, loop)
        self._call(call)
        call.timer = loop.call_later(within, call.give_up)
        if (link := self._link) is not None:
            self._listeners.listen(loop, link)

    def block(self, request: Request, within: float) -> Any:
        """See `Calls.block`."""
        answers: list[Any] = []
        waiting = threading.Lock()
        waiting.acquire()

        def answered(answer: Any) -> None:
            answers.append(answer)
            waiting.release()

        call = Call(request, self._protocol.pack(request.words), answered)
        self._call(call)
        if not waiting.acquire(timeout=within):
            call.given_up = True
            return TimeoutError()
        return answers[0]

    def _call(self, call: Call) -> None:
        with self._lock:
            if self._ended:
                raise self._closed()
            self._send(call)

    def _send(self, call: Call) -> None:
        self._calls.append(call)
        if call.loop is None:
            self._blocked += 1
        is_left = self._link is None or self._link.write(call.packed)
        if is_left or self._sleeps or self._blocked:
            self._sleeps = False
            self._waker.wake()

    # For whoever reads

    def _read_on_loop(self, loop: asyncio.AbstractEventLoop, link: Duplex) -> bool:
        """Read what has come, on an event loop; return whether to listen on."""
        if link is not self._link or self._broken:
            return False
        if self._reading.acquire(blocking=False):  # or else another one reads it
            try:
                if link is self._link:
                    self._read(loop)
            except Exception as error:  # noqa: BLE001 - the thread repeats the calls
                self._broken = error
                self._waker.wake()
            finally:
                self._reading.release()
        return self._broken is None

    def _read(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Read the answers that have come, and let callers have them."""
        done: list[Answered] = []
        try:
            while True:
                self._take(self._protocol.read(), done)
                if not self._calls:
                    break
        except NothingYetError:
            pass
        finally:
            hand_over(done, loop)

    def _take(self, answer: Any, done: list[Answered]) -> None:
        self._heard = monotonic()
        if isinstance(answer, Exception) and is_read_only(answer):
            raise answer  # the primary has become a replica: a new connection may find the new one
        with self._lock:
            call = self._calls.popleft()
            self._blocked -= call.loop is None
            if isinstance(answer, NoScriptError) and call.request.instead:  # the server is new, or was restarted
                call.packed = self._protocol.pack(call.request.instead)
                self._send(call)
                return
        done.append((call, self._protocol.parse(call.request, answer)))

    # In the thread

    def _run(self) -> None:
        while not self._ended:
            try:
                self._serve()
            except Exception as error:  # noqa: BLE001 - it may be the user's client, and others wait for their answers
                self._after(error)
        self._fail(self._closed())
        self._waker.close()

    def _serve(self) -> None:
        """Connect, and look after the connection until it breaks."""
        while not self._calls:  # whoever adds one, or ends this, wakes it then
            self._waker.wait()
            if self._ended:
                return
        self._heard = monotonic()
        try:
            link = self._protocol.connect()
            self._send_all(link)
            self._look_after(link)
        finally:
            with self._reading:
                with self._lock:
                    self._link = None
                self._protocol.disconnect()
            self._listeners.stop()

    def _on_socket(self, sock: socket.socket) -> Duplex:
        return Duplex(sock, self._lock, self._waker, self._patience)

    def _send_all(self, link: Duplex) -> None:
        """Send what waits for a connection, or for its answer on one that has broken."""
        with self._lock:
            self._link = link
            link.made()
            self._broken = None
            for call in self._calls:
                call.sent = monotonic()
                link.write(call.packed)
            loops = {call.loop for call in self._calls if call.loop is not None}
        for loop in loops:
            self._listeners.listen_from_elsewhere(loop, link)

    def _look_after(self, link: Duplex) -> None:
        while not self._ended:
            left = self._patience()
            reads = self._blocked > 0 or left < 1000 * (self._protocol.silence - LATE)
            with self._lock:
                # A thread that sleeps must be woken, which costs a call; one that is late finds out by itself.
                self._sleeps = not self._calls
            if link.wait(None if self._sleeps else left if reads else 1000 * LATE, reads=reads):
                with self._reading:
                    self._read()
            if self._broken:
                raise self._broken

    def _patience(self) -> float:
        """Return for how many milliseconds the server may still be silent."""
        if self._ended:
            raise NoConnection("closed")
        since = self._heard
        if self._link is not None:
            try:
                since = max(since, self._calls[0].sent)
            except IndexError:
                return 1000 * self._protocol.silence
        left = since + self._protocol.silence - monotonic()
        if left <= 0:
            raise NoAnswer
        return 1000 * left

    def _after(self, error: Exception) -> None:
        """Repeat the calls after an error that may pass, and fail the others."""
        if self._ended:
            return
        again: deque[Call] = deque()
        failed: list[Answered] = []
        with self._lock:
            for call in self._calls:
                call.attempts += 1
                if is_passing(error) and call.attempts <= len(PAUSES) and not call.given_up:
                    again.append(call)
                else:
                    failed.append((call, error))
            self._keep(again)
        hand_over(failed)
        if again:
            self._ending.wait(PAUSES[min(call.attempts for call in tuple(again)) - 1])

    def _fail(self, error: Exception) -> None:
        with self._lock:
            failed = [(call, error) for call in self._calls]
            self._keep(deque())
        hand_over(failed)

    def _keep(self, calls: deque[Call]) -> None:
        self._calls = calls
        self._blocked = sum(call.loop is None for call in calls)


def _set(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():  # the caller was cancelled
        future.set_result(answer)
