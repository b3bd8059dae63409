"""Jobs that are deferred at once: those that come while one is on its way are stored by one call."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from pseudocron.backends.model import Conflict
from pseudocron.errors import BackendAwayError, BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pseudocron.backends.questions import NewJob

    Loop = asyncio.AbstractEventLoop
    Waiting = tuple[dict[str, object], asyncio.Future[Any]]
    Send = Callable[[Sequence[dict[str, object]], Callable[[Any], None]], None]

TOGETHER = 50
"""Jobs of one call: while its script runs, some milliseconds, the server does nothing else."""

SHORT = 4096
"""Characters of the arguments of a job that is stored with others."""


def is_grouped(job: NewJob) -> bool:
    """Return whether a job may be stored with others: it is short, and can't be refused for its key."""
    return len(job.arguments) <= SHORT and (job.key is None or job.on_conflict != Conflict.RAISE)


class Groups:
    """The lines of jobs that wait, one of each event loop.

    A job that comes alone is sent at once. Those that come until it is stored are sent together then: so no job waits
    for others to come, and the more come at once, the fewer calls they need.

    Args:
        send: Sends jobs, and calls a function with their ids or with an error; raises `BackendError` if it can't.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lines: dict[Loop, deque[Waiting]] = {}

    async def defer(self, job: dict[str, object]) -> str:
        """Store a job, and return its id or that of the job which stands for it.

        Raises:
            BackendError: It may not be stored.
        """
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[Any] = loop.create_future()
        line = self._lines.get(loop)
        if line is None:
            self._begin(loop, (job, stored))
        else:
            line.append((job, stored))
        answer = await stored
        if isinstance(answer, BackendError):
            raise answer
        return str(answer)

    def _begin(self, loop: Loop, first: Waiting) -> None:
        for other in tuple(self._lines):
            if other.is_closed():
                self._lines.pop(other, None)
        self._lines[loop] = deque()
        self._store(loop, [first])

    def _store(self, loop: Loop, those: Sequence[Waiting]) -> None:
        try:
            self._send([job for job, _ in those], partial(self._stored, loop, those))
        except BackendError as error:
            self._stored(loop, those, error)

    def _stored(self, loop: Loop, those: Sequence[Waiting], answer: Any) -> None:
        if isinstance(answer, BackendError) and not isinstance(answer, BackendAwayError) and len(those) > 1:
            # One may be the reason, and the others must not fail with it. What is stored is not stored twice.
            for one in those:
                self._store_alone(one)
        else:
            _settle(those, answer)
        self._next(loop)

    def _store_alone(self, one: Waiting) -> None:
        try:
            self._send([one[0]], partial(_settle, [one]))
        except BackendError as error:
            _settle([one], error)

    def _next(self, loop: Loop) -> None:
        line = self._lines[loop]
        if line:
            self._store(loop, [line.popleft() for _ in range(min(TOGETHER, len(line)))])
        else:
            del self._lines[loop]


def _settle(those: Sequence[Waiting], answer: Any) -> None:
    for at, (_, stored) in enumerate(those):
        if not stored.done():  # its caller was cancelled
            stored.set_result(answer if isinstance(answer, Exception) else answer[at])
