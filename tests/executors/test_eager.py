"""Event loops whose tasks begin at once, before `create_task` returns."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from executors.executing import RUN, call, until
from pseudocron.backends.model import State
from pseudocron.context import current_run
from pseudocron.executors import CutOff, execute, graces
from pseudocron.hooks import RunMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from pseudocron.executors import Call, Ended

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 brought eager tasks")


def eager(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(debug=True) as runner:
        factory = getattr(asyncio, "eager_task_factory")  # noqa: B009 - mypy reads this for Python 3.11
        runner.get_loop().set_task_factory(factory)
        return runner.run(asyncio.wait_for(work, 5))


def ended(what: Call) -> Ended:
    end: Ended = eager(execute(what, RUN))
    return end


@asynccontextmanager
async def session() -> AsyncGenerator[None]:
    yield


async def at_once() -> None:
    assert current_run() == RUN


async def later() -> None:
    await asyncio.sleep(0.01)
    assert current_run() == RUN


def plain() -> None:
    assert current_run() == RUN


def returns_an_awaitable() -> Any:
    return later()


async def fails() -> None:
    raise SystemExit(1)


INSIDE = [RunMiddleware(session, "session", is_async=True)]


@pytest.mark.parametrize("middlewares", [[], INSIDE], ids=["bare", "inside"])
@pytest.mark.parametrize("target", [at_once, later, plain, returns_an_awaitable])
def test_a_run_succeeds_in_an_eager_task(target: Any, middlewares: list[RunMiddleware]) -> None:
    end = ended(call(target)._replace(middlewares=middlewares))
    assert (end.error, end.outcome, end.lingering) == (None, State.SUCCEEDED, None)


@pytest.mark.parametrize("middlewares", [[], INSIDE], ids=["bare", "inside"])
def test_a_run_that_exits_at_once_in_an_eager_task_fails(middlewares: list[RunMiddleware]) -> None:
    end = ended(call(fails)._replace(middlewares=middlewares))
    assert end.outcome is State.FAILED
    assert isinstance(end.raised, SystemExit)


@pytest.mark.parametrize("middlewares", [[], INSIDE], ids=["bare", "inside"])
@pytest.mark.parametrize("target", [asyncio.sleep, time.sleep], ids=["coroutine", "thread"])
def test_an_eager_task_is_timed_out(target: Any, middlewares: list[RunMiddleware]) -> None:
    async def main() -> tuple[Ended, float]:
        before = time.monotonic()
        end = await execute(call(target._replace(1, timeout=0.3), middlewares=middlewares), RUN)
        return end, time.monotonic() - before

    end, took = eager(main())
    assert 0.3 <= took < 0.9
    assert end.outcome is State.TIMED_OUT
    assert (end.lingering is None) == (target is asyncio.sleep)


def test_a_cancelled_eager_task_that_resists_lingers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graces, "CANCEL", 0.1)
    started = threading.Event()

    async def main() -> None:
        let_go = asyncio.Event()

        async def resist() -> None:
            try:
                started.set()
                await asyncio.sleep(60)
            finally:
                await let_go.wait()

        async def run() -> None:
            with pytest.raises(CutOff) as raised:
                await execute(call(resist), RUN)
            assert raised.value.lingering
            let_go.set()
            await raised.value.lingering.future

        task = asyncio.create_task(run())
        await until(started.is_set)
        task.cancel()
        await task

    eager(main())
