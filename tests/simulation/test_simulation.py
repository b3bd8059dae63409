"""Some seeds keep all promises, a seed is always the same, and what is broken is found and told small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import environ_with

from simulation.bugs import planted
from simulation.scenario import Kind, scenario
from simulation.trying import attempt, shrunk

QUICK = (7, 17, 20, 23, 46)

CROWD = 300
"""Processes; a thousand take too long for each run of the suite."""


@pytest.mark.parametrize("seed", QUICK)
def test_whatever_goes_wrong_the_promises_are_kept(seed: int) -> None:
    tried = attempt(scenario(seed))
    assert not tried.violations, str(shrunk(tried))


def test_hundreds_of_processes_keep_them_too() -> None:
    tried = attempt(scenario(0, processes=CROWD, seconds=1.0))
    assert not tried.violations, str(tried)
    assert sum(event.what == "born" for event in tried.history) >= CROWD


def test_a_seed_is_the_same_run_in_each_process_whatever_its_hashes_are() -> None:
    code = f"""
from simulation.scenario import scenario
from simulation.trying import attempt
print(attempt(scenario({QUICK[2]})).history.digest())
"""
    environ = {**environ_with(Path(__file__).parent.parent), "PYTHONHASHSEED": "4711"}
    assert os.environ.get("PYTHONHASHSEED") != "4711"
    there = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == attempt(scenario(20)).history.digest()
    assert there.stdout.strip() != attempt(scenario(46)).history.digest()


def test_a_planted_bug_is_found_and_told_with_little_else() -> None:
    with planted("the gate's second read is left out"):
        found = attempt(scenario(5, processes=8))
        least = shrunk(found)
    assert found.violations[0].rule == least.violations[0].rule == "one enters a stale gate, nobody a fresh one"
    assert least.scenario.processes < 8
    assert least.scenario.seconds < found.scenario.seconds
    assert str(least).startswith("seed 5: ")


def test_every_kind_of_fault_comes_up_within_a_few_seeds() -> None:
    assert {fault.kind for seed in range(20) for fault in scenario(seed).faults} == set(Kind)
