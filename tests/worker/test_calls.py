"""A job and a cron take no more Python calls within the package than they need: a bound that no machine changes."""

from __future__ import annotations

import pytest

from benchmarks.calls import counted, words

BOUNDS = {"job": 200, "drained": 50, "cron": 260}
"""Calls in all threads, on the memory store: some are worth it, and then this is raised in the same commit."""


@pytest.mark.parametrize("what", BOUNDS)
def test_a_run_takes_no_more_calls_than_it_needs(what: str) -> None:
    found = counted(what)
    assert sum(found.values()) <= BOUNDS[what], words(found)
