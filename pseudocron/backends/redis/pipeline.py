"""One connection to a Redis server for all calls of a process: each is sent at once, and answered in its turn."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as NoAnswer

from pseudocron.backends.redis.calls import CLOSE_WITHIN, PAUSES, Calls
from pseudocron.backends.redis.client import ANSWER
from pseudocron.backends.redis.duplex import Duplex, Waker
from pseudocron.backends.redis.messages import READ_ONLY, is_passing

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis import Redis

    from pseudocron.backends.redis.calls import Request

    Answered = tuple["Call", Any]


class Call:
    """A request on its way.

    Args:
        request: What is asked.
        packed: The same, as it is sent.
        answered: Takes the answer, or an exception.
        loop: Where `answered` is called; in the thread that reads if None.
    """

    __slots__ = ("answered", "attempts", "given_up", "loop", "packed", "request", "sent")

    def __init__(
        self,
        request: Request,
        packed: bytes,
        answered: Callable[[Any], None],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.request = request
        self.packed = packed
        self.answered = answered
        self.loop = loop
        self.sent = time.monotonic()
        self.attempts = 0
        self.given_up = False


class Pipeline(Calls):
    """The calls of a process, from any thread and event loop.

    The caller encodes its call and sends it; nothing waits. One thread connects, reads, and hands the answers to the
    event loops, those that came together at once. An event loop in that thread would cost each call two wakeups.

    Args:
        client: Knows how to connect, how to encode and how to read: all of the protocol is the client's.
        closed: Makes the error for a caller while the thread does not live.
    """

    def __init__(self, client: Redis, closed: Callable[[], Exception]) -> None:
        self._closed = closed
        self._parsers: Mapping[Any, Any] = client.response_callbacks
        pool = client.connection_pool
        self._options, base = pool.connection_kwargs, pool.connection_class
        self._class = type(base.__name__, (base,), {"_connect": lambda one: self._duplex(base._connect(one))})
        self._packer = self._class(**self._options)
        self._lock = threading.Lock()  # of the calls and their order, for microseconds
        self._calls: deque[Call] = deque()
        self._done: list[Answered] = []
        self._link: Duplex | None = None
        self._made: list[Duplex] = []
        self._sleeps = self._ended = False
        self._heard = 0.0
        self._silence = ANSWER
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
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        call = self._call(request, partial(_set, answer), loop)
        timer = loop.call_later(within, self._give_up, call)
        try:
            return await answer
        finally:
            timer.cancel()

    def block(self, request: Request, within: float) -> Any:
        """See `Calls.block`."""
        answers: list[Any] = []
        waiting = threading.Lock()
        waiting.acquire()

        def answered(answer: Any) -> None:
            answers.append(answer)
            waiting.release()

        call = self._call(request, answered)
        if not waiting.acquire(timeout=within):
            call.given_up = True
            return TimeoutError()
        return answers[0]

    def _call(
        self, request: Request, answered: Callable[[Any], None], loop: asyncio.AbstractEventLoop | None = None
    ) -> Call:
        call = Call(request, self._packed(request.words), answered, loop)
        with self._lock:
            if self._ended:
                raise self._closed()
            self._send(call)
        return call

    def _send(self, call: Call) -> None:
        self._calls.append(call)
        if self._link is None or self._link.write(call.packed) or self._sleeps:
            self._waker.wake()

    def _packed(self, words: Iterable[str | int]) -> bytes:
        return b"".join(self._packer.pack_command(*words))

    @staticmethod
    def _give_up(call: Call) -> None:
        call.given_up = True
        call.answered(TimeoutError())

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
        """Connect, and read answers until the connection breaks."""
        while not self._calls:  # whoever adds one, or ends this, wakes it then
            self._waker.wait()
            if self._ended:
                return
        connection = self._class(**self._options)
        self._silence = connection.socket_timeout or ANSWER
        self._heard = time.monotonic()
        try:
            connection.connect()
            self._send_all()
            while True:
                try:
                    answer = connection.read_response()
                except ResponseError as error:
                    answer = error
                self._take(answer)
        finally:
            with self._lock:
                self._link = None
            connection.disconnect()
            self._hand_over()

    def _duplex(self, sock: socket.socket) -> Duplex:
        self._made = [Duplex(sock, self._lock, self._waker, before_waiting=self._hand_over, patience=self._patience)]
        return self._made[0]

    def _send_all(self) -> None:
        """Send what waits for a connection, or for its answer on one that has broken."""
        with self._lock:
            link = self._link = self._made[0]
            for call in self._calls:
                call.sent = time.monotonic()
                link.write(call.packed)

    def _patience(self) -> float | None:
        """Return for how many milliseconds to wait for the server; None for ever."""
        now = time.monotonic()
        if self._ended:
            raise NoConnection("closed")
        if self._link is None or self._calls:
            asked = self._calls[0].sent if self._link is not None and self._calls else 0.0
            left = max(self._heard, asked) + self._silence - now
            if left <= 0:
                raise NoAnswer
            return left * 1000
        with self._lock:
            # A thread that sleeps must be woken, which costs a call: a busy one finds the next call by itself.
            self._sleeps = not self._calls and now - self._heard > ANSWER
            return None if self._sleeps else ANSWER * 1000

    def _take(self, answer: Any) -> None:
        self._heard, self._sleeps = time.monotonic(), False
        call = self._calls[0]
        if isinstance(answer, Exception) and READ_ONLY in str(answer):
            raise answer  # the primary has become a replica: a new connection may find the new one
        self._calls.popleft()
        if isinstance(answer, NoScriptError) and call.request.instead:  # the server is new, or was restarted
            call.packed = self._packed(call.request.instead)
            with self._lock:
                self._send(call)
        else:
            self._done.append((call, answer))

    def _hand_over(self) -> None:
        """Let callers have the answers that have come."""
        if self._done:
            done, self._done = self._done, []
            _hand_over([(call, self._read(call, answer)) for call, answer in done])

    def _read(self, call: Call, answer: Any) -> Any:
        if isinstance(answer, Exception):
            return answer
        parse: Callable[[Any], Any] | None = self._parsers.get(call.request.words[0])
        try:
            return call.request.read(parse(answer) if parse else answer)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            return error

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
            self._calls = again
        _hand_over(failed)
        if again:
            self._ending.wait(PAUSES[min(call.attempts for call in tuple(again)) - 1])

    def _fail(self, error: Exception) -> None:
        with self._lock:
            failed = [(call, error) for call in self._calls]
            self._calls.clear()
        _hand_over(failed)


def _hand_over(answers: Sequence[Answered]) -> None:
    """Let callers have their answers, all those of an event loop at once."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[Answered]] = {}
    for call, answer in answers:
        by_loop.setdefault(call.loop, []).append((call, answer))
    for loop, those in by_loop.items():
        if loop is None:
            _answer(those)
        else:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_answer, those)


def _answer(answers: Sequence[Answered]) -> None:
    for call, answer in answers:
        call.answered(answer)


def _set(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():  # the caller was cancelled
        future.set_result(answer)
