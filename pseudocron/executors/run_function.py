"""Calls one importable function in a child process of its own: `python -m pseudocron.executors.run_function FD FD`.

Stdin holds a JSON list: the import string `package.module:function`, its arguments, its keyword arguments.
What it raises is printed as a traceback on stderr, and the exit code is then 1; the first FD, a pipe to the supervisor,
gets the names of its classes. The second one is for its `Shield`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from contextlib import suppress
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pseudocron.executors.raised import encoded
from pseudocron.executors.run_script import Shield
from pseudocron.truncation import trace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Reporter:
    """Writes what was raised into a pipe, of which the function and what it starts know nothing."""

    def __init__(self, pipe: int) -> None:
        os.set_inheritable(pipe, False)
        self._pipe = pipe
        self._identity = self._stat()

    def report(self, error: BaseException) -> None:
        """Write, unless the function has closed the descriptor, which may be a file of its own by now."""
        with suppress(Exception):  # then nothing is known of the error, as of one that kills the process
            if self._stat() == self._identity:
                with open(self._pipe, "wb", closefd=False) as pipe:
                    pipe.write(encoded(error))

    def _stat(self) -> tuple[int, int]:
        stat = os.fstat(self._pipe)
        return stat.st_dev, stat.st_ino


def main(spec: str, report: Callable[[BaseException], None] = lambda _: None) -> int:
    """Call what the spec names; the exit code."""
    try:
        error = _error_of(*json.loads(spec))
    except BaseException as error:
        report(error)
        raise
    if error is not None:
        report(error)
        print(trace(error), end="", file=sys.stderr)  # noqa: T201 - stderr is what the supervisor keeps
    return int(error is not None)


def _error_of(ref: str, args: list[Any], kwargs: dict[str, Any]) -> Exception | None:
    module, _, name = ref.partition(":")
    try:
        found = attrgetter(name)(import_module(module))
        # A task knows by its annotations what these arguments mean.
        value = getattr(found, "_call_plain", found)(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - whatever the function raises is its result
        return error
    return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else None


async def _awaited(value: Awaitable[Any]) -> Exception | None:
    # Caught here, the traceback begins with the function and not with the event loop.
    try:
        await value
    except Exception as error:  # noqa: BLE001 - likewise
        return error
    return None


if __name__ == "__main__":
    Shield(int(sys.argv.pop()))
    sys.exit(main(sys.stdin.read(), Reporter(int(sys.argv.pop())).report))
