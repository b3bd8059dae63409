"""What becomes of an attempt whose child process was stopped together with its whole service."""

from __future__ import annotations

from typing import Any

import pytest
from support import START

from pseudocron import Crons
from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Claim
from pseudocron.executors import Ended
from pseudocron.worker.outcome import end_of


@pytest.mark.parametrize(
    ("kind", "retries", "at_least_once", "attempts"),
    [
        (Kind.SLOT, 0, False, 1),
        (Kind.SLOT, 0, True, 3),
        (Kind.SLOT, 1, False, 2),
        (Kind.SLOT, 5, True, 6),
        (Kind.JOB, 0, False, 3),
        (Kind.JOB, 3, False, 4),
        (Kind.MANUAL, 5, True, 1),
    ],
)
def test_what_is_to_run_at_least_once_may_be_stopped_three_times(
    kind: Kind, retries: int, *, at_least_once: bool, attempts: int
) -> None:
    crons = Crons(backend="memory:", app="outcomes")
    crons.add("cron", int, 60, retries=retries, at_least_once=at_least_once)
    target: Any = crons.task("job", retries=retries)(print) if kind is Kind.JOB else crons["cron"]
    due = [
        end_of(
            target,
            Claim("r", kind, "cron", START, 1, attempt, 0, START, slot=START if kind is Kind.SLOT else None),
            Ended(State.INTERRUPTED, "killed by SIGTERM"),
            now=START,
            random=lambda: 0.5,
        ).due
        is not None
        for attempt in range(1, attempts + 1)
    ]
    assert due == [True] * (attempts - 1) + [False]
