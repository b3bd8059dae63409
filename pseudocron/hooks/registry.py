"""Hook registry: registers the hooks, middleware and cleanups of a `Crons`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from pseudocron.hooks import Hooks

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


class HookRegistry:
    """The part of `Crons` that registers hooks, and owns them."""

    def __init__(self) -> None:
        super().__init__()
        self._hooks = Hooks()

    def on(self, kind: str) -> Callable[[F], F]:
        """Call the decorated function with the events of runs and jobs: `@crons.on("failed")`.

        The function takes one `Event`, and is plain or async; a plain one runs in a thread. It has 10 seconds for an
        event. Its exceptions are logged.

        Args:
            kind: "started", "succeeded", "failed", "retrying", "skipped" or "lost".

        Raises:
            ConfigError: There is no such event, or the decorated object is not a function.
        """

        def decorate(function: F) -> F:
            self._hooks.on(kind, function)
            return function

        return decorate

    def middleware(self, make: F) -> F:
        """Wrap each attempt of a run or job in a context manager: `@crons.middleware` on a function that yields once.

        A coroutine is wrapped on the event loop, and a plain function in its thread; an async middleware of a plain
        function is entered on the event loop. A child process is not wrapped. An exception of the run is the run's
        failure, even if the middleware swallows it.

        Args:
            make: A generator function that yields once, sync or async, decorated with `contextmanager` or not, or a
                callable that returns a context manager.

        Raises:
            ConfigError: `make` can't make a context manager.
        """
        self._hooks.middleware(make)
        return make

    @overload
    def thread_cleanup(self, function: F, /) -> F: ...

    @overload
    def thread_cleanup(self, function: None = None, /, *, each_run: bool = True) -> Callable[[F], F]: ...

    def thread_cleanup(self, function: Callable[[], object] | None = None, /, *, each_run: bool = True) -> Any:
        """Call the decorated function in the threads of plain functions, to close what belongs to a thread.

        It is called after each run in a thread, and so before the thread ends, within the timeout of the run. A thread
        is reused: what an earlier run has opened in it, such as a database connection, would else stay open. What the
        function raises is logged and changes no outcome.

        Args:
            function: A plain function without arguments.
            each_run: False to call it only before a thread ends, so that what it closes is kept from run to run.

        Returns:
            The function, unchanged.

        Raises:
            ConfigError: It is no plain function.
        """

        def decorate(function: F) -> F:
            self._hooks.thread_cleanup(function, each_run=each_run)
            return function

        return decorate if function is None else decorate(function)
