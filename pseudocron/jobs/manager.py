"""Job manager: stores and cancels the jobs of one `Crons`, and notifies listeners."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from datetime import timedelta
from inspect import ismethod
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakMethod

from pseudocron.backends import connect
from pseudocron.backends.model import Kind
from pseudocron.backends.usage import ShortUse
from pseudocron.errors import EventLoopError
from pseudocron.host import Host
from pseudocron.jobs.propagation import without_context
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from datetime import datetime

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Run
    from pseudocron.backends.questions import NewJob
    from pseudocron.config.settings import Settings

T = TypeVar("T")
_NOT_ASYNCIO = (
    "no asyncio event loop is running here, as under trio: call the method that ends in `_sync` in a thread, such as "
    "`await anyio.to_thread.run_sync(TASK.defer_sync)`"
)
Listener = "Callable[[datetime], None]"


class JobManager:
    """Defers, reads and cancels jobs, from any thread and any event loop.

    Args:
        settings: Returns the current settings of the `Crons`.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self.host = Host()
        self.inline = 0
        """Number of open `immediate` contexts; above 0, deferred calls are run instead of being stored."""
        self.settled = False
        """Whether the settings are read; reading them blocks."""
        self._settings = settings
        self._making = threading.Lock()
        self._backend: Backend | None = None
        self._made_of: tuple[object, ...] = ()
        self._listeners: list[Callable[[], Callable[[datetime], None] | None]] = []

    def connect(self, host: Host | None = None) -> Backend:
        """Return the store that the settings name, not opened; the same object until the settings change.

        Where `PSEUDOCRON_ENABLED` switches everything off, it is a store in memory, whatever the settings name.

        Args:
            host: Time, sleep, chance and threads from now on; None keeps the present ones.
        """
        settings = self._settings()
        with self._making:
            self.host = host or self.host
            made_of = (
                settings.backend if settings.enabled else "memory:",
                settings.app if settings.named else None,
                settings.folder,
                settings.history,
                settings.durability,
                self.host,
            )
            if self._backend is None or self._made_of != made_of:
                url, app, folder, keep, durability, _ = made_of
                self._backend = None  # if this one can't be made, none is used
                unfit = settings.origin.unfit if settings.origin else None
                self._backend = connect(
                    url, app=app, folder=folder, unfit=unfit, keep=keep, durability=durability, host=self.host
                )
                self._made_of = made_of
            self._backend.cron_max_time = settings.cron_max_time
            if not settings.enabled:
                from pseudocron.jobs.outbox import switched_off  # noqa: PLC0415  only where everything is switched off

                switched_off.add(self)
            self.settled = True
            return self._backend

    def now(self) -> datetime:
        """Return the time by the clock of the store, as last read by this process."""
        return self.host.now() + (self._backend.ahead if self._backend else timedelta())

    async def opened(self) -> ShortUse:
        """Return a context in which the store is open; `EventLoopError` on an event loop that is not asyncio's."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise EventLoopError(_NOT_ASYNCIO) from None
        return ShortUse(
            await self.host.hop(self.connect) if self._backend is None or not self.settled else self._backend
        )

    async def store(self, backend: Backend, jobs: Sequence[NewJob]) -> Sequence[str]:
        """Store jobs in the open store, all of them or none, and call the listeners; return their ids."""
        try:
            return await backend.defer(jobs)
        finally:  # also if the caller is cancelled when they are stored
            self._call_listeners(jobs)

    def store_blocking(self, make: Callable[[], Sequence[NewJob]]) -> Sequence[str]:
        """Store jobs as `store` does, opening the store if need be; blocks.

        Args:
            make: Makes the jobs, when the store has told its time.
        """
        with ShortUse(self.connect() if self._backend is None or not self.settled else self._backend) as backend:
            jobs = make()
            try:
                return backend.defer_blocking(jobs) if jobs else []
            finally:
                self._call_listeners(jobs)

    async def job(self, job_id: str) -> Run | None:
        """Return a job, or None if there is none of this id (any more)."""
        async with await self.opened() as backend:
            run = await backend.run(job_id)
        if run is None or run.kind is not Kind.JOB:
            return None
        return run._replace(arguments=without_context(run.arguments or "{}"))

    async def cancel(self, *, job_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """Cancel jobs; see `Backend.cancel`."""
        async with await self.opened() as backend:
            return await backend.cancel(run_id=job_id, task=task, key=key)

    def on_deferred(self, callback: Callable[[datetime], None]) -> None:
        """Call a function after each defer, in the thread of the caller, with when the first job is due (aware UTC).

        A bound method is held weakly: it is no longer called once its object is gone.
        """
        if not any(listener() == callback for listener in self._listeners):
            self._listeners.append(WeakMethod(callback) if ismethod(callback) else lambda: callback)

    def _call_listeners(self, jobs: Sequence[NewJob]) -> None:
        if not self._listeners or not jobs:
            return
        due = jobs[0].due if len(jobs) == 1 else min([job.due for job in jobs])
        for listener in list(self._listeners):
            callback = listener()
            if callback is None:
                self._listeners.remove(listener)
                continue
            try:
                callback(due)
            except Exception:
                logger.exception("jobs: stored, but no poll was requested")

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """Run deferred calls instead of storing them."""
        self.inline += 1
        try:
            yield
        finally:
            self.inline -= 1


def blocking(work: Callable[[], Coroutine[Any, Any, T]], *, instead: str) -> T:
    """Run a coroutine on an event loop of its own, and return its result. Blocks.

    Args:
        work: Makes the coroutine.
        instead: What to write where an event loop is running, for the message.

    Raises:
        EventLoopError: An event loop is running in this thread, and would be blocked.
    """
    refuse_event_loop(instead)
    return asyncio.run(work())


def refuse_event_loop(instead: str) -> None:
    """Raise `EventLoopError` if an event loop is running in this thread, and would stand still.

    Args:
        instead: What to write there, for the message.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise EventLoopError(f"an event loop is running in this thread: write `{instead}` instead")
