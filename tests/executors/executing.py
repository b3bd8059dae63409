"""What the tests of this folder share: calls to make, and conditions to wait for."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudocron.context import CurrentRun
from pseudocron.executors import Call, Ended, execute
from pseudocron.targets import Function, Script, Shell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

RUN = CurrentRun(
    name="digest", slot=datetime(2026, 3, 29, 1, tzinfo=UTC), fence=7, attempt=2, run_id="r-1", state={"pool": 42}
)


def call(target: Any, *args: Any, process: bool = False, timeout: float | None = None, **kwargs: Any) -> Call:
    if isinstance(target, str):
        target = Function(print, target)
    elif isinstance(target, Path):
        target = Script(target)
    elif not isinstance(target, Script | Shell | Function):
        target = Function(target, "never:imported")
    return Call(target=target, args=args, kwargs=kwargs, process=process, timeout=timeout)


def ended(target: Any, *args: Any, **options: Any) -> Ended:
    return asyncio.run(execute(call(target, *args, **options), RUN), debug=True)


async def cancelled_when(condition: Callable[[], bool], work: Awaitable[Any]) -> asyncio.Task[Any]:
    """Cancel the work when the condition holds; the work, which is then over."""
    task = asyncio.ensure_future(work)
    await until(condition)
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert isinstance(task, asyncio.Task)
    return task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - other threads and processes can set no asyncio.Event
            await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], bool], *, within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; an orphan may stay a zombie where nobody collects it."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return True
    return state == "Z"


def kill(pid: int) -> None:
    if not is_gone(pid):
        os.kill(pid, signal.SIGKILL)
