"""The scheduling of a process that has no event loop: on one in a daemon thread, drained when the process ends."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 - see below
import os
import sys
import threading
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING

from pseudocron.errors import PseudoCronError
from pseudocron.host import spawn
from pseudocron.log import logger
from pseudocron.polling import PollReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pseudocron.process import Process
    from pseudocron.runtime import Runtime
    from pseudocron.server_grace import Grace

NO_THREADS = (
    "uWSGI: it runs no threads, so nothing is scheduled; requests are served; start it with --enable-threads, or run "
    "the crons beside it with `pseudocron work`"
)

ANSWERS_WITHIN = 5.0
"""Seconds within which the event loop must answer when the process ends."""


class Background:
    """An event loop in a daemon thread of this process, and the runtimes that poll on it.

    A thread does not survive a fork, so that one is made in the process that polls, never before.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._runtimes: set[Runtime] = set()
        self._closing = False
        # A thread must not inherit the context variables of the request that happened to start it.
        try:
            Context().run(threading.Thread(target=self._run, name="pseudocron-loop", daemon=True).start)
        except Exception:
            self._loop.close()
            raise

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def request_poll(self, process: Process, *, ticker: bool, grace: Grace | None) -> None:
        """Poll in the background, from any thread; the first time the process is opened before.

        Args:
            process: What the process has of the configuration.
            ticker: Whether the process is to poll without being asked.
            grace: How long the server lets the process live when it is to end, if that is known.
        """
        self._loop.call_soon_threadsafe(self._request, process, ticker, grace, context=Context())

    def _request(self, process: Process, ticker: bool, grace: Grace | None) -> None:  # noqa: FBT001 - no keywords there
        runtime = process.runtime()
        if self._closing:
            return
        if runtime in self._runtimes:
            runtime.request_poll(PollReason.REQUEST, ticker=ticker)
        else:
            self._runtimes.add(runtime)
            spawn(self._open(runtime, ticker=ticker, grace=grace))

    async def _open(self, runtime: Runtime, *, ticker: bool, grace: Grace | None) -> None:
        # The poll that follows finds the same error, logs it, and opens what can be used by then.
        with suppress(PseudoCronError):
            await runtime.start(ticker=ticker, grace=grace)
        if not self._closing:
            runtime.request_poll(PollReason.REQUEST, ticker=ticker)

    def close(self) -> None:
        """Drain the runs and close the stores; block until then, but not for code that blocks the event loop."""
        answers = threading.Event()
        self._loop.call_soon_threadsafe(answers.set)
        if answers.wait(ANSWERS_WITHIN):
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        else:
            logger.error("event loop: no answer within %g s: nothing was drained", ANSWERS_WITHIN)

    async def _close(self) -> None:
        self._closing = True
        for result in await asyncio.gather(*(one.close() for one in self._runtimes), return_exceptions=True):
            if isinstance(result, Exception):
                logger.error("the scheduling could not be drained", exc_info=result)


_lock = threading.Lock()
_background: Background | None = None


def background() -> Background:
    """Return that of this process, made if there is none; servers fork, and not all of them tell Python."""
    global _background  # noqa: PLW0603 - one a process
    with _lock:
        if _background is None or _background.pid != os.getpid():
            _background = Background()
        return _background


def close() -> None:
    """Drain what this process has in the background, if anything."""
    if _background is not None and _background.pid == os.getpid():
        _background.close()


# Runs before the executors of `concurrent.futures` refuse the calls of runs, as what is registered last runs first: the
# import of their module above registers theirs. `atexit` comes after both.
getattr(threading, "_register_atexit", atexit.register)(close)


def without_threads() -> bool:
    """Return whether this process is uWSGI's and only its requests run, since it was started without threads."""
    options: Mapping[str, object] = getattr(sys.modules.get("uwsgi"), "opt", {"threads": True})
    return not {"enable-threads", "threads"} & {*options}
