"""Who wants to be told of runs, and what is to be about each run: what `@crons.on` and `@crons.around` register."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pseudocron.dataclass import dataclass
from pseudocron.errors import ConfigError, did_you_mean, show
from pseudocron.hooks.events import Event as Event
from pseudocron.hooks.events import Happening as Happening
from pseudocron.targets import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
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
class Around:
    """One context manager that is entered for each attempt of a run.

    Args:
        make: Makes it.
        name: For messages.
        is_async: Whether it can be entered on an event loop only.
        children: Whether it is also about the wait for a child process.
    """

    make: Callable[[], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]
    name: str
    is_async: bool
    children: bool = False


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
        self._arounds: tuple[Around, ...] = ()
        self._carried: tuple[Callable[[], Mapping[str, str]], ...] = ()
        self._told: dict[str, tuple[Hook, ...]] = {}
        self._beyond = beyond

    def told(self, kind: Happening) -> Sequence[Hook]:
        """Who is told of this, in the order in which they were registered."""
        own = self._told.get(kind, ())
        return (*self._beyond.told(kind), *own) if self._beyond else own

    @property
    def arounds(self) -> Sequence[Around]:
        """What is about each run, the outermost first."""
        return (*self._beyond.arounds, *self._arounds) if self._beyond else self._arounds

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

    def around(self, make: Callable[[], Any], *, children: bool = False) -> None:
        """Enter a context manager for each run; `ConfigError` if this can't make one."""
        if not callable(make):
            raise ConfigError(f"around: {show(make)}: must be a generator function, or what makes a context manager")
        if inspect.iscoroutinefunction(make):
            raise ConfigError(f"around: {describe(make)} must yield once, where the run belongs")
        self._arounds = (*self._arounds, Around(_manager(make), describe(make), _is_async(make), children))

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
