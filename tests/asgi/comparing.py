"""One connection recorded message by message: the application bare, and the same one wrapped."""

from __future__ import annotations

import asyncio
import copy
from math import inf
from typing import TYPE_CHECKING, Any

from support import until

from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    Event = tuple[str, Any]

RECEIVE = "receive"
"""A step of an application: receive one message."""

ARRANGEMENTS: dict[str, dict[str, Any]] = {
    "a look is due": {"due": True},
    "a look is due and waited for": {"due": True, "wait": 20},
    "no look is due": {"due": False},
}


def says(*steps: Message | str | Exception) -> ASGIApp:
    """An application that receives, sends and raises, step by step."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for step in steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, str):
                await receive()
            else:
                await send(step)

    return app


async def record(
    app: ASGIApp, scope: Scope, incoming: Sequence[Message | int] = (), gone_after: float = inf
) -> list[Event]:
    """All that happens on one connection, in its order.

    Args:
        app: Who answers.
        scope: The connection.
        incoming: What the client sends; a number waits until the application has sent so many messages.
        gone_after: How many messages the server takes before it raises, as the client is gone.
    """
    events: list[Event] = []
    script = iter(incoming)

    def sent() -> int:
        return sum(kind == "sent" for kind, _ in events)

    async def receive() -> Message:
        for step in script:
            if not isinstance(step, int):
                events.append(("received", step))
                return step
            await until(lambda step=step: sent() >= step)  # type: ignore[misc]
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if sent() >= gone_after:
            events.append(("not taken", copy.copy(message)))
            raise OSError("the client is gone")
        events.append(("sent", copy.copy(message)))

    try:
        events.append(("returned", await app(scope, receive, send)))  # type: ignore[func-returns-value]
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a record takes everything
        events.append(("raised", repr(error)))
    return events


async def record_wrapped(
    app: ASGIApp, record: Callable[[ASGIApp], Any], *, due: bool, **options: Any
) -> tuple[list[Event], int]:
    """The same with the middleware around the application; how often the cron ran behind it."""
    crons, ran = Crons(backend="memory:"), []
    crons.add("one", lambda: ran.append(1), 36000)
    wrapped = PseudoCronMiddleware(app, crons=crons, **options)
    if not due:
        process_of(crons).deadline = inf
    events = await record(wrapped)
    if due:
        await until(lambda: ran)
    return events, len(ran)


async def compare(
    app: ASGIApp, scope: Scope, incoming: Sequence[Message | int] = (), gone_after: float = inf, **arrangement: Any
) -> list[Event]:
    """Assert that nothing differs, in the scope or on the wire, and that what was due ran once."""
    untouched = copy.deepcopy(scope)
    scopes = []

    async def witness(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await app(scope, receive, send)

    async def connect(app: ASGIApp) -> list[Event]:
        return await record(app, scope, incoming, gone_after)

    bare = await connect(witness)
    events, ran = await record_wrapped(witness, connect, **arrangement)
    assert events == bare
    assert scope == untouched
    assert [given is scope for given in scopes] == [True, True]
    assert ran == arrangement["due"]
    return bare
