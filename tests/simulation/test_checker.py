"""Each rule is seen to fail: a history that is broken in one place is told to be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache

from pseudocron.backends.jobs import JobState
from pseudocron.backends.records import Claim, Reaped
from simulation.checker import Checker
from simulation.history import Event
from simulation.scenario import application, scenario
from simulation.world import simulate

SEED = 20


@cache
def events() -> list[Event]:
    """A whole history in which nothing is broken."""
    return simulate(scenario(SEED)).history.events


def broken(*history: Event) -> set[str]:
    return {found.rule for found in Checker(application(scenario(SEED))).read(history)}


def place(what: str) -> int:
    """Where this first went well."""
    return next(number for number, one in enumerate(events()) if one.what == what and one.got)


def claim_place() -> int:
    return next(number for number, one in enumerate(events()) if isinstance(one.got, Claim))


def with_(number: int, *more: Event) -> list[Event]:
    return [*events()[: number + 1], *more, *events()[number + 1 :]]


def test_what_is_whole_breaks_no_rule() -> None:
    assert broken(*events()) == set()


def test_a_slot_claimed_twice_is_told() -> None:
    number = claim_place()
    assert {"no slot is claimed twice", "fences grow"} <= broken(*with_(number, events()[number]))


def test_a_fence_that_does_not_grow_is_told() -> None:
    number = claim_place()
    one = events()[number]
    assert "fences grow" in broken(*events()[:number], replace(one, got=replace(one.got, fence=0)))


def test_a_slot_before_its_time_is_told() -> None:
    number = claim_place()
    one = events()[number]
    early = replace(one.got, slot=one.clock + timedelta(seconds=1))
    assert "no slot before its time" in broken(*events()[:number], replace(one, got=early))


def test_a_run_that_is_lost_before_its_lease_is_over_is_told() -> None:
    number = claim_place()
    one = events()[number]
    lost = replace(one, what="reap", given=(), got=Reaped(lost=[one.got]))
    assert "no lease ends before its time" in broken(*events()[: number + 1], lost)


def test_a_run_of_one_who_is_well_that_is_lost_is_told() -> None:
    number = claim_place()
    one = events()[number]
    late = one.clock + timedelta(hours=1)
    lost = replace(one, clock=late, what="reap", given=(), got=Reaped(lost=[one.got]))
    assert "whoever is well keeps its lease" in broken(*events()[: number + 1], lost)


def test_a_job_that_is_cancelled_and_started_is_told() -> None:
    number = place("claim_jobs")
    one = events()[number]
    (job, *_) = one.got
    cancelled = replace(one, what="cancel", given=(job.job_id, None, None), got=True)
    assert "what is cancelled or replaced is not started" in broken(*with_(number - 1, cancelled))


def test_a_job_that_is_claimed_twice_is_told() -> None:
    number = place("claim_jobs")
    assert "one living claim of a job" in broken(*with_(number, events()[number]))


def test_a_result_that_comes_twice_is_told() -> None:
    number = next(number for number, one in enumerate(events()) if one.what == "finish_jobs" and one.got[0])
    assert "no late holder writes" in broken(*with_(number, events()[number]))


def test_a_success_without_a_run_is_told() -> None:
    assert "what succeeded was done" in broken(*(one for one in events() if one.what != "did"))


def test_an_acknowledged_job_that_is_gone_is_told() -> None:
    gone = (replace(one, got={}) if one.what == "left" else one for one in events())
    assert "no acknowledged job is lost" in broken(*gone)


def test_a_job_in_another_state_than_it_came_to_is_told() -> None:
    other = (
        replace(one, got=dict.fromkeys(one.got, JobState.RUNNING)) if one.what == "left" else one for one in events()
    )
    assert "a job is in the state it came to" in broken(*other)


def test_slots_of_which_nothing_is_known_are_told() -> None:
    claims = [number for number, one in enumerate(events()) if isinstance(one.got, Claim)]
    without = claims[len(claims) // 2]
    assert "each slot ran or is recorded" in broken(*events()[:without], *events()[without + 1 :])


def test_two_who_enter_the_gate_at_once_are_told() -> None:
    number = place("enter")
    assert broken(*with_(number, events()[number])) == {"one enters a stale gate, nobody a fresh one"}
