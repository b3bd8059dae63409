"""Work inside of the context managers that are to be about it, in a thread or on the event loop."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from pseudocron.hooks import Around


def inside(arounds: Sequence[Around], work: Callable[[], Any]) -> Callable[[], Any]:
    """Plain work inside of its context managers; none of them makes good what it raises."""

    def surrounded() -> Any:
        raised: BaseException | None = None
        with ExitStack() as stack:
            try:
                for around in arounds:
                    _enter(stack, around.make(), around)
                return work()
            except BaseException as error:
                raised = error
                raise
        raise raised or _swallowed()

    return surrounded


def inside_async(
    arounds: Sequence[Around], work: Callable[[], Awaitable[Any]]
) -> Callable[[], Coroutine[Any, Any, Any]]:
    """The same of work on the event loop, where context managers of both kinds are entered."""

    async def surrounded() -> Any:
        raised: BaseException | None = None
        async with AsyncExitStack() as stack:
            try:
                for around in arounds:
                    await _enter_async(stack, around.make(), around)
                return await work()
            except BaseException as error:
                raised = error
                raise
        raise raised or _swallowed()

    return surrounded


async def _enter_async(stack: AsyncExitStack, manager: object, around: Around) -> None:
    if isinstance(manager, AbstractAsyncContextManager):
        await stack.enter_async_context(manager)
    else:
        _enter(stack, manager, around)


def _enter(stack: AsyncExitStack | ExitStack, manager: object, around: Around) -> None:
    if not isinstance(manager, AbstractContextManager):
        kind = type(manager).__name__
        raise TypeError(f"around: {around.name}: made a {kind}, must make a context manager that can be entered here")
    stack.enter_context(manager)


def _swallowed() -> RuntimeError:
    return RuntimeError("one context manager around the run has swallowed what another raised")
