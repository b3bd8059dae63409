"""What is to be executed, and how its failure is described."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends.model import State
from pseudocron.errors import show
from pseudocron.executors import graces
from pseudocron.executors.ended import Ended
from pseudocron.host import hop
from pseudocron.truncation import brief, timed_out, trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pseudocron.hooks import RunMiddleware
    from pseudocron.targets import Target

SUCCEEDED = Ended(State.SUCCEEDED)


class Call(NamedTuple):
    """What to execute, and how.

    Args:
        target: A script, a command line, or a callable.
        args: Arguments; for a process, JSON values.
        kwargs: Keyword arguments, likewise.
        process: Whether a callable runs in a child process, which then imports it.
        timeout: Seconds that it may take, or None.
        middlewares: Context managers that wrap it, the outermost first.
        env: Variables of a child process, besides those of this one.
        cwd: The working folder of a child process; that of this one if None.
    """

    target: Target
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    process: bool = False
    timeout: float | None = None
    middlewares: Sequence[RunMiddleware] = ()
    env: Mapping[str, str] = {}
    cwd: Path | None = None


def past_timeout(call: Call) -> Ended:
    """Return the end of a call whose timeout is over."""
    return Ended(State.TIMED_OUT, timed_out(call.timeout))


def impossible(error: Exception) -> Ended:
    """Return the end of a call that could not be made."""
    return Ended(State.FAILED, f"can't be run: {show(error, 1000)}")


async def failed(error: BaseException) -> Ended:
    """Return the end of a call that has raised: a failure, unless it is `sys.exit(0)`."""
    if isinstance(error, SystemExit) and (error.code is None or (isinstance(error.code, int) and error.code == 0)):
        return SUCCEEDED
    return Ended(State.FAILED, await _traced(error), raised=error)


async def _traced(error: BaseException) -> str:
    # Off the loop, as a traceback reads source files; but no run is held up by a thread that is not to be had.
    try:
        async with asyncio.timeout(graces.TRACE):
            return await hop(trace, error)
    except Exception:  # noqa: BLE001 - whatever went wrong, there is a way without threads and files
        return brief(error)
