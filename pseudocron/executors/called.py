"""Calls one importable function in a child process of its own: `python -m pseudocron.called`.

Stdin holds a JSON list: the import string `package.module:function`, its arguments, its keyword arguments.
An error is printed as a traceback on stderr, and the exit code is then 1.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pseudocron.capture import trace

if TYPE_CHECKING:
    from collections.abc import Awaitable


def main(spec: str) -> int:
    """Call what the spec names; the exit code."""
    error = _error_of(*json.loads(spec))
    if error is not None:
        print(trace(error), end="", file=sys.stderr)  # noqa: T201 - stderr is what the supervisor keeps
    return int(error is not None)


def _error_of(ref: str, args: list[Any], kwargs: dict[str, Any]) -> Exception | None:
    module, _, name = ref.partition(":")
    try:
        found = attrgetter(name)(import_module(module))
        # A task knows by its annotations what these arguments mean.
        value = getattr(found, "call_plain", found)(*args, **kwargs)
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
    sys.exit(main(sys.stdin.read()))
