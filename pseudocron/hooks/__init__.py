"""Hooks and middleware of runs: what `@crons.on` and `@crons.middleware` register."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self

from pseudocron.dataclass import dataclass
from pseudocron.errors import ConfigError, did_you_mean, show
from pseudocron.hooks.events import Event as Event
from pseudocron.hooks.events import EventKind as EventKind
from pseudocron.targets import Function, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """A function that is called with events.

    Args:
        call: Takes an `Event`.
        name: For messages.
        queue: Identity of the function; its events are delivered one at a time, in order.
        inline: Whether it is called at once where the event happens; for functions that take microseconds.
    """

    call: Callable[[Event], object]
    name: str
    queue: Hashable
    inline: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class RunMiddleware:
    """A context manager that wraps each attempt of a run.

    Args:
        make: Makes it.
        name: For messages.
        is_async: Whether it can be entered on an event loop only.
        children: Whether it also wraps the wait for a child process.
    """

    make: Callable[[], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]
    name: str
    is_async: bool
    children: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Cleanup:
    """A function that closes what belongs to a thread.

    Args:
        call: Takes no arguments; called in the thread.
        name: For messages.
        each_run: Whether it is called after each run in a thread, and not only before the thread ends.
    """

    call: Callable[[], object]
    name: str
    each_run: bool


class Middlewares(tuple[RunMiddleware, ...]):  # noqa: SLOT001 - a tuple can have none
    """The middleware of a run, the outermost first.

    Attributes:
        cleanups: Those of the thread of the run, in the order in which they are called.
    """

    cleanups: tuple[Cleanup, ...]

    def __new__(cls, middlewares: Iterable[RunMiddleware] = (), cleanups: Iterable[Cleanup] = ()) -> Self:  # noqa: D102
        self = super().__new__(cls, middlewares)
        self.cleanups = tuple(cleanups)
        return self

    def plus(self, middlewares: Iterable[RunMiddleware] = (), cleanups: Iterable[Cleanup] = ()) -> Middlewares:
        """Return a copy with others behind these."""
        return Middlewares((*self, *middlewares), (*self.cleanups, *cleanups))


class Hooks:
    """The hooks and middleware of a `Crons`, or of one cron.

    Args:
        parent: Hooks that are called before these, and middleware that wraps these.

    Attributes:
        polls: Functions that are called with the result of each poll of this process.
        counts: Functions that are called at intervals with the number of pending jobs, and with the seconds for which
            the next one of them has been due.
    """

    def __init__(self, parent: Hooks | None = None) -> None:
        self.polls: tuple[Callable[[str], None], ...] = ()
        self.counts: tuple[Callable[[int, float], None], ...] = ()
        self._middlewares = Middlewares()
        self._propagators: tuple[Callable[[], Mapping[str, str]], ...] = ()
        self._hooks: dict[str, tuple[Hook, ...]] = {}
        self._parent = parent

    def of_kind(self, kind: EventKind) -> Sequence[Hook]:
        """Return the hooks for a kind of event, in the order in which they were registered."""
        own = self._hooks.get(kind, ())
        return (*self._parent.of_kind(kind), *own) if self._parent else own

    @property
    def middlewares(self) -> Middlewares:
        """The middleware of each run, the outermost first."""
        if self._parent is None:
            return self._middlewares
        return self._parent.middlewares.plus(self._middlewares, self._middlewares.cleanups)

    def on(self, kind: str, call: Callable[[Event], object], *, inline: bool = False) -> None:
        """Register a hook.

        Args:
            kind: A value of `EventKind`.
            call: Takes an `Event`.
            inline: Whether to call it at once where the event happens.

        Raises:
            ConfigError: There is no such event, or `call` is not a function.
        """
        known = [str(one) for one in EventKind]
        if kind not in known:
            hint = did_you_mean(str(kind), known) or f", must be one of: {', '.join(known)}"
            raise ConfigError(f"on({show(kind)}): there is no such event{hint}")
        if not callable(call):
            raise ConfigError(f"on({show(kind)}): {show(call)}: must be a function that takes an Event")
        if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
            raise ConfigError(f"on({show(kind)}): {describe(call)} is a generator, whose body would never run")
        self._hooks[kind] = (*self._hooks.get(kind, ()), Hook(call, describe(call), _queue(call), inline))

    def middleware(self, make: Callable[[], Any], *, children: bool = False) -> None:
        """Wrap each run in a context manager; `ConfigError` if this can't make one."""
        if not callable(make):
            raise ConfigError(
                f"middleware: {show(make)}: must be a generator function, or what makes a context manager"
            )
        if inspect.iscoroutinefunction(make):
            raise ConfigError(f"middleware: {describe(make)} must yield once, where the run belongs")
        middleware = RunMiddleware(_manager(make), describe(make), _is_async(make), children)
        self._middlewares = self._middlewares.plus([middleware])

    def thread_cleanup(self, call: Callable[[], object], *, each_run: bool) -> None:
        """Call a function after each run in a thread, or before a thread ends; `ConfigError` if that is impossible."""
        if not callable(call):
            raise ConfigError(f"thread_cleanup: {show(call)}: must be a function without arguments")
        if Function(call, "").is_async or inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
            raise ConfigError(f"thread_cleanup: {describe(call)}: must be a plain function, not async, without yield")
        self._middlewares = self._middlewares.plus(cleanups=[Cleanup(call, describe(call), each_run)])

    def on_poll(self, call: Callable[[str], None]) -> None:
        """Call a function with the result of each poll, at once and on the event loop."""
        self.polls = (*self.polls, call)

    def on_count(self, call: Callable[[int, float], None]) -> None:
        """Call a function at intervals with the number of pending jobs, and the age of the next one in seconds."""
        self.counts = (*self.counts, call)

    def propagate(self, call: Callable[[], Mapping[str, str]]) -> None:
        """Store what a function returns with each deferred job, for `current_run().context`; called by `defer`."""
        self._propagators = (*self._propagators, call)

    def propagated(self) -> Mapping[str, str]:
        """Return the context for a job that is deferred here."""
        context: dict[str, str] = {}
        for call in self._propagators:
            context.update(call())
        return context


def own_hooks(all_hooks: Hooks, name: str, ping: str | None) -> Hooks:
    """Return the hooks of all crons, and the pings of this one."""
    if ping is None:
        return all_hooks
    from pseudocron.instrumentation.ping import KINDS, Ping  # noqa: PLC0415  only for those who ping

    hooks = Hooks(parent=all_hooks)
    for kind in KINDS:
        hooks.on(kind, Ping(name, ping))
    return hooks


def _queue(call: Callable[..., Any]) -> Hashable:
    try:
        hash(call)
    except TypeError:
        return id(call)
    return call


def _manager(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return what makes context managers, also for a generator function that is not decorated."""
    if inspect.isasyncgenfunction(make):
        return asynccontextmanager(make)
    return contextmanager(make) if inspect.isgeneratorfunction(make) else make


def _is_async(make: Callable[[], Any]) -> bool:
    if inspect.isclass(make):
        return hasattr(make, "__aenter__") and not hasattr(make, "__enter__")
    return inspect.isasyncgenfunction(inspect.unwrap(make))
