"""The decoding of a job's stored arguments: on the event loop, or in a thread if it may take long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from inspect import BoundArguments

    from pseudocron.host import Host
    from pseudocron.jobs.tasks import Task

UNPACKED_AT_ONCE = 4096
"""Characters of stored arguments that are decoded on the event loop, as that takes less than a hop to a thread."""


def is_quick(task: Task[..., Any], stored: str) -> bool:
    """Return whether arguments may be decoded on the event loop: they are short, and need no import any more."""
    return "process" in vars(task) and len(stored) <= UNPACKED_AT_ONCE


async def decode_aside(host: Host, task: Task[..., Any], stored: str) -> Callable[[], BoundArguments]:
    """Decode in a thread; return what returns the result, or raises as decoding did."""
    return await host.hop(_outcome_of, task._unpack, stored)


def _outcome_of(decode: Callable[[str], BoundArguments], stored: str) -> Callable[[], BoundArguments]:
    try:
        bound = decode(stored)
    except Exception as error:  # noqa: BLE001 - raised where the result is asked for
        raised = error

        def again() -> BoundArguments:
            raise raised

        return again
    return lambda: bound
