"""What is due and late is reported, whatever it is, and nothing that no process could have started."""

from __future__ import annotations

import pytest

from simulation.late_histories import EXCUSED, LATE, History
from simulation.made_events import APPLICATION
from verification.simulation.lateness import Lateness
from verification.simulation.rules import Rule


def late(history: History) -> list[Rule]:
    return [found.rule for found in Lateness(APPLICATION).check(history)]


@pytest.mark.parametrize("history", [pytest.param(history, id=name) for name, history in LATE.items()])
def test_what_starts_too_late_is_reported_once(history: History) -> None:
    assert late(history) == [Rule.ON_TIME]


@pytest.mark.parametrize("history", [pytest.param(history, id=name) for name, history in EXCUSED.items()])
def test_what_no_process_could_start_is_not_late(history: History) -> None:
    assert late(history) == []
