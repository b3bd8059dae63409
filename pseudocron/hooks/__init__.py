"""Hooks and middleware of runs: what `@crons.on` and `@crons.middleware` register."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pseudocron.errors import ConfigError, did_you_mean, show
from pseudocron.hooks.events import Event as Event
from pseudocron.hooks.events import Happening as Happening
from pseudocron.targets import Function, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

F = TypeVar("F", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """One function that is told.

    Args:
        call: Takes an `Event`.
        name: For messages.
        line: The same for all that lead to the same function, which is told in order.
        swift: It takes microseconds, and is called at once, wherever that is.
    """

    call: Callable[[Event], object]
    name: str
    line: Hashable
    swift: bool = False


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
    """What was registered for one `Crons`, or for one cron. It holds what it was given for as long as it lives.

    Args:
        beyond: Whose hooks hold besides, before its own.

    Attributes:
        looks: Who is told what came of each look of this process, in a word.
        counts: Who is told, now and then, how many jobs wait, and for how many seconds one of them.
    """

    def __init__(self, beyond: Hooks | None = None) -> None:
        self.looks: tuple[Callable[[str], None], ...] = ()
        self.counts: tuple[Callable[[int, float], None], ...] = ()
        self._middlewares = Middlewares()
        self._carried: tuple[Callable[[], Mapping[str, str]], ...] = ()
        self._told: dict[str, tuple[Hook, ...]] = {}
        self._beyond = beyond

    def told(self, kind: Happening) -> Sequence[Hook]:
        """Who is told of this, in the order in which they were registered."""
        own = self._told.get(kind, ())
        return (*self._beyond.told(kind), *own) if self._beyond else own

    @property
    def middlewares(self) -> Middlewares:
        """The middleware of each run, the outermost first."""
        if self._beyond is None:
            return self._middlewares
        return self._beyond.middlewares.plus(self._middlewares, self._middlewares.cleanups)

    def on(self, kind: str, call: Callable[[Event], object], *, swift: bool = False) -> None:
        """Tell a function of what happens; `ConfigError` if there is no such happening, or it is none."""
        known = [str(one) for one in Happening]
        if kind not in known:
            mend = did_you_mean(str(kind), known) or f", must be one of: {', '.join(known)}"
            raise ConfigError(f"on({show(kind)}): there is no such event{mend}")
        if not callable(call):
            raise ConfigError(f"on({show(kind)}): {show(call)}: must be a function that takes an Event")
        if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
            raise ConfigError(f"on({show(kind)}): {describe(call)} is a generator, whose body would never run")
        self._told[kind] = (*self._told.get(kind, ()), Hook(call, describe(call), _line(call), swift))

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

    def on_look(self, call: Callable[[str], None]) -> None:
        """Tell what comes of each look; swift, on the event loop."""
        self.looks = (*self.looks, call)

    def on_count(self, call: Callable[[int, float], None]) -> None:
        """Tell how many jobs wait; likewise."""
        self.counts = (*self.counts, call)

    def carry(self, call: Callable[[], Mapping[str, str]]) -> None:
        """Let each deferred job carry these words, which `current_run().context` then has; asked in its caller."""
        self._carried = (*self._carried, call)

    def carried(self) -> Mapping[str, str]:
        """What a job that is deferred here carries."""
        return {key: value for call in self._carried for key, value in call().items()}


def own_hooks(all_hooks: Hooks, name: str, ping: str | None) -> Hooks:
    """The hooks of all crons, and the pings of this one."""
    if ping is None:
        return all_hooks
    from pseudocron.instrumentation.ping import KINDS, Ping  # noqa: PLC0415  only for those who ping

    hooks = Hooks(beyond=all_hooks)
    for kind in KINDS:
        hooks.on(kind, Ping(name, ping))
    return hooks


def _line(call: Callable[..., Any]) -> Hashable:
    try:
        hash(call)
    except TypeError:
        return id(call)
    return call


def _manager(make: Callable[[], Any]) -> Callable[[], Any]:
    """What makes context managers, of a generator function that is not decorated too."""
    if inspect.isasyncgenfunction(make):
        return asynccontextmanager(make)
    return contextmanager(make) if inspect.isgeneratorfunction(make) else make


def _is_async(make: Callable[[], Any]) -> bool:
    if inspect.isclass(make):
        return hasattr(make, "__aenter__") and not hasattr(make, "__enter__")
    return inspect.isasyncgenfunction(inspect.unwrap(make))
