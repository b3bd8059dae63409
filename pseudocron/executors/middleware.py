"""Middleware of runs: enters context managers around the work of a run, in a thread or on the event loop."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from pseudocron.hooks import RunMiddleware


def inside(middlewares: Sequence[RunMiddleware], work: Callable[[], Any]) -> Callable[[], Any]:
    """Return plain work wrapped in its middleware, which can't swallow what the work raises."""

    def surrounded() -> Any:
        raised: BaseException | None = None
        with ExitStack() as stack:
            try:
                for middleware in middlewares:
                    _enter(stack, middleware.make(), middleware)
                return work()
            except BaseException as error:
                raised = error
                raise
        raise raised or _swallowed()

    return surrounded


def inside_async(
    middlewares: Sequence[RunMiddleware], work: Callable[[], Awaitable[Any]]
) -> Callable[[], Coroutine[Any, Any, Any]]:
    """Return async work wrapped in its middleware, sync or async, which can't swallow what the work raises."""

    async def surrounded() -> Any:
        raised: BaseException | None = None
        async with AsyncExitStack() as stack:
            try:
                for middleware in middlewares:
                    await _enter_async(stack, middleware.make(), middleware)
                return await work()
            except BaseException as error:
                raised = error
                raise
        raise raised or _swallowed()

    return surrounded


async def _enter_async(stack: AsyncExitStack, manager: object, middleware: RunMiddleware) -> None:
    if isinstance(manager, AbstractAsyncContextManager):
        await stack.enter_async_context(manager)
    else:
        _enter(stack, manager, middleware)


def _enter(stack: AsyncExitStack | ExitStack, manager: object, middleware: RunMiddleware) -> None:
    if not isinstance(manager, AbstractContextManager):
        kind = type(manager).__name__
        raise TypeError(
            f"middleware: {middleware.name}: made a {kind}, must make a context manager that can be entered here"
        )
    stack.enter_context(manager)


def _swallowed() -> RuntimeError:
    return RuntimeError("a middleware of the run has swallowed what another one raised")
