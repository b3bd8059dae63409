"""`make simulate N=10000`: so many seeds, on all processors; what fails is printed, shrunk."""

from __future__ import annotations

import argparse
import os
import sys
import time
from multiprocessing import get_context

from verification.simulation.planted_bugs import BUGS, planted
from verification.simulation.scenario import scenario
from verification.simulation.seeds import attempt, told_of

PATIENCE = 200
"""Seeds within which a planted bug has to be found."""


def main() -> int:
    """Simulate the seeds that the command line says, or look for the planted bugs; 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(prog="simulate")
    parser.add_argument("seeds", type=int, nargs="?", default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--bugs", action="store_true", help="plant bugs, and tell within how many seeds each is found")
    said = parser.parse_args()
    return _bugs() if said.bugs else _seeds(said.first, said.seeds)


def _seeds(first: int, number: int) -> int:
    began, simulated, events, failed = time.monotonic(), 0.0, 0, 0
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        for seconds, happened, told in pool.imap_unordered(told_of, range(first, first + number)):
            simulated, events, failed = simulated + seconds, events + happened, failed + bool(told)
            if told:
                print(told, flush=True)
    took = time.monotonic() - began
    print(
        f"seeds: {number}, failed: {failed}, simulated: {simulated / 3600:.1f} h, events: {events}, took {took:.0f} s"
    )
    return int(failed > 0)


def _bugs() -> int:
    missed = 0
    for bug in BUGS:
        with planted(bug):
            seed, found = next(
                (
                    (seed, tried.violations[0])
                    for seed in range(PATIENCE)
                    if (tried := attempt(scenario(seed))).violations
                ),
                (PATIENCE, None),
            )
        missed += found is None
        print(f"{bug} | {seed + 1 if found else 'not found'} | {found.rule if found else ''}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
