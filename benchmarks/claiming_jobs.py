"""What it costs to claim 100 due jobs beside few and many others, whether those are not due yet or all are."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import timedelta
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.measuring import Row, ratios, show, side_by_side, spread
from benchmarks.pending import HAVE_COME_DUE, MILLION, NOW, TASK, YESTERDAY, Pending, full, job
from benchmarks.polling import claiming_jobs
from pseudocron.backends.file.backend import File
from pseudocron.backends.model import State
from pseudocron.backends.questions import End
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pseudocron.backends.contract import Backend

TOMORROW = NOW + timedelta(days=1)
STORES = (
    Pending(what="1,000 pending", number=1000, stored=NOW, due=TOMORROW),
    Pending(what="100,000 pending", number=100_000, stored=NOW, due=TOMORROW),
    Pending(what="1,000,000 pending", number=MILLION, stored=NOW, due=TOMORROW),
    Pending(what="1,000,000 due, at mixed priorities", number=MILLION, stored=NOW, due=YESTERDAY, mixed=True),
    HAVE_COME_DUE,
)
CLAIMED = 100
WHAT = f"claiming {CLAIMED} due jobs"
ROUNDS = 20
GOAL = 1.5
"""Times what it costs in the first store."""


async def _claim(backend: Backend, pending: Pending) -> float:
    """Milliseconds of one poll; what is claimed is stored before it, if it is not there, and recorded behind it."""
    if pending.due > NOW:
        await backend.defer([job(number, NOW) for number in range(CLAIMED)])
    began = perf_counter()
    polled = await backend.poll(claiming_jobs(TASK, CLAIMED))
    taken = perf_counter() - began
    assert polled is not None
    assert len(polled.claims) == CLAIMED
    await backend.finish([End(claim, State.SUCCEEDED) for claim in polled.claims])
    return taken * 1e3


def _claims(stores: Sequence[Pending], make: Callable[[Pending], Backend]) -> dict[str, list[float]]:
    """Milliseconds that the claims took in each store, in turns."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def arm(pending: Pending) -> Callable[[], float]:
            backend = make(pending)
            runner.run(backend.open())
            stack.callback(lambda: runner.run(backend.close()))
            return lambda: runner.run(_claim(backend, pending))

        arms = {pending.what: arm(pending) for pending in stores}
        side_by_side(arms, rounds=1)
        return side_by_side(arms, rounds=ROUNDS)


def rows_of(what: str, stores: Sequence[Pending], make: Callable[[Pending], Backend]) -> list[Row]:
    """Return a row for each store, which is filled and not open; all but the first are compared with that."""
    figures = _claims(stores, make)
    first, *others = figures
    rows = [Row(what=f"{what}; {first}", goal="none", measured=spread(figures[first], " ms"), met=None)]
    for other in others:
        against = ratios(figures[other], figures[first])
        rows.append(
            Row(
                what=f"{what}; {other}",
                goal=f"{GOAL} times the first",
                measured=f"{spread(against)}: {median(figures[other]):.2f} ms",
                met=median(against) <= GOAL,
            )
        )
    return rows


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    return rows_of(WHAT, STORES, lambda pending: File(full(pending), host=Host(now=lambda: NOW)))


if __name__ == "__main__":
    show(measure())
