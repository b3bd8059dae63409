"""Polls and ends that have much to do, in several calls: while a script runs, the server does nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from pseudocron.backends.model import Kind
from pseudocron.backends.questions import Capacity, Finished, Polled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pseudocron.backends.questions import Claim, Plan, Take

T = TypeVar("T")

PLANS_AT_ONCE = 25
"""Plans that one script carries out."""

TARGETS_AT_ONCE = 100
"""Tasks and crons that one script names."""

ROUNDS = 19
"""How many further calls one poll makes at most for what one script may not do; the rest is left to the next poll."""

_LATEST = datetime.max.replace(tzinfo=UTC)


def parts_of(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield some of the items at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def plans_in_parts(plans: Sequence[Plan]) -> list[Sequence[Plan]]:
    """Return plans in parts, those with the oldest slots first; if they are several, the last part is empty."""
    if len(plans) <= PLANS_AT_ONCE:
        return [plans]
    in_order = sorted(plans, key=lambda plan: plan.slots[0] if plan.slots else _LATEST)
    return [*parts_of(in_order, PLANS_AT_ONCE), ()]


def left_of(take: Take, claims: Sequence[Claim]) -> Take:
    """Return what a process may still claim."""
    if not claims:
        return take
    total, slots, jobs = take.capacity
    of_jobs = sum(claim.kind is Kind.JOB for claim in claims)
    of_slots = len(claims) - of_jobs
    return take._replace(capacity=Capacity(total - len(claims), slots - of_slots, jobs - of_jobs))


def polled_of(polls: Sequence[Polled]) -> Polled:
    """Return what several calls of one poll have done."""
    if len(polls) == 1:
        return polls[0]
    return polls[-1]._replace(
        claims=list(chain.from_iterable(one.claims for one in polls)),
        refused=list(chain.from_iterable(one.refused for one in polls)),
        outdated={name: state for one in polls for name, state in one.outdated.items()},
        lost=list(chain.from_iterable(one.lost for one in polls)),
        dropped=list(chain.from_iterable(one.dropped for one in polls)),
    )


def finished_of(ends: Sequence[Finished]) -> Finished:
    """Return what several calls have recorded and claimed."""
    if len(ends) == 1:
        return ends[0]
    return ends[-1]._replace(
        states=list(chain.from_iterable(one.states for one in ends)),
        claims=list(chain.from_iterable(one.claims for one in ends)),
        dropped=list(chain.from_iterable(one.dropped for one in ends)),
    )
