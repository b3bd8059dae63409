"""What is due, what was missed, and when the next look is wanted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from pseudocron.backends.records import Reason, Skip, State
from pseudocron.crons import Cron
from pseudocron.runner.due import AT_MOST, Absence, Due, due
from pseudocron.schedule import COUNTED, parse
from pseudocron.targets import Function

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def a_cron(schedule: object, **options: Any) -> Cron:
    return Cron(name="cron", target=Function(print, "builtins:print"), schedule=parse(schedule), **options)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def ask(cron: Cron, *, mark: float, now: float, paused: bool = False, **options: Any) -> Due:
    return due(cron, State(name="cron", mark=at(mark), paused=paused), at(now), **options)


def skip(seconds: float, reason: Reason, slots: int, *, every: float = 1, since: float | None = None) -> Skip:
    """The last of so many slots, one after another."""
    first, known = at(seconds - every * (slots - 1)), None if since is None else at(since)
    return Skip(name="cron", slot=at(seconds), reason=reason, slots=slots, first=first, since=known)


def test_nothing_is_due_before_the_next_slot() -> None:
    plan = ask(a_cron(60), mark=0, now=59.9)
    assert (plan.slots, plan.skips, plan.next) == ((), (), at(60))


def test_a_slot_is_due_at_its_very_instant() -> None:
    plan = ask(a_cron(60), mark=0, now=60)
    assert (plan.slots, plan.skips, plan.next) == ((at(60),), (), at(120))


def test_of_the_missed_slots_the_latest_runs_and_the_others_are_recorded() -> None:
    plan = ask(a_cron(1), mark=0, now=5.5)
    assert plan.slots == (at(5),)
    assert plan.skips == (skip(4, Reason.NO_TRAFFIC, 4),)


def test_what_was_missed_since_the_store_went_away_is_told_from_what_nobody_came_for_before() -> None:
    plan = ask(a_cron(1), mark=0, now=9.5, absence=Absence(looked=at(0.5), away=at(4)))
    assert plan.slots == (at(9),)
    assert plan.skips == (
        skip(3, Reason.NO_TRAFFIC, 3, since=0.5),
        skip(8, Reason.BACKEND_DOWN, 5, since=4),
    )


@pytest.mark.parametrize("away", [-10, 0, 0.5, 1])
def test_a_store_that_was_away_before_the_first_missed_slot_is_why_all_were_missed(away: float) -> None:
    plan = ask(a_cron(1), mark=0, now=5.5, absence=Absence(away=at(away)))
    assert plan.skips == (skip(4, Reason.BACKEND_DOWN, 4, since=away),)


@pytest.mark.parametrize("away", [4.5, 5, 5.2])
def test_a_store_that_went_away_after_the_last_missed_slot_is_not_why_they_were_missed(away: float) -> None:
    plan = ask(a_cron(1), mark=0, now=5.5, absence=Absence(away=at(away)))
    assert plan.skips == (skip(4, Reason.NO_TRAFFIC, 4),)


def test_without_coalesce_every_missed_slot_runs() -> None:
    plan = ask(a_cron(1, coalesce=False, max_instances=9), mark=0, now=5.5)
    assert plan.slots == tuple(at(slot) for slot in range(1, 6))
    assert plan.skips == ()


@pytest.mark.parametrize(("running", "slots"), [(0, (1, 2)), (1, (1,)), (2, ()), (3, ())])
def test_without_coalesce_no_more_slots_are_claimed_than_may_run_and_the_others_wait(
    running: int, slots: tuple[int, ...]
) -> None:
    cron = a_cron(1, coalesce=False, max_instances=2)
    plan = due(cron, State(name="cron", mark=NOON, running=running), at(5.5))
    assert plan.slots == tuple(map(at, slots))
    assert plan.skips == ()
    assert plan.waiting


def test_without_coalesce_at_most_the_last_hundred_run() -> None:
    plan = ask(a_cron(1, coalesce=False, max_instances=200), mark=0, now=250)
    assert plan.slots == tuple(at(slot) for slot in range(151, 251))
    assert len(plan.slots) == AT_MOST
    assert plan.skips == (skip(150, Reason.NO_TRAFFIC, 150),)


def test_a_slot_within_its_grace_time_runs() -> None:
    assert ask(a_cron(60, misfire_grace_time=30), mark=0, now=90).slots == (at(60),)


def test_a_slot_beyond_its_grace_time_is_a_misfire() -> None:
    plan = ask(a_cron(60, misfire_grace_time=30), mark=0, now=90.1)
    assert plan.slots == ()
    assert plan.skips == (skip(60, Reason.MISFIRE, 1),)
    assert plan.next == at(120)


def test_without_coalesce_only_the_slots_beyond_the_grace_time_are_misfires() -> None:
    plan = ask(a_cron(1, coalesce=False, misfire_grace_time=2, max_instances=9), mark=0, now=5)
    assert plan.slots == (at(3), at(4), at(5))
    assert plan.skips == (skip(2, Reason.MISFIRE, 2),)


@pytest.mark.parametrize(("enabled", "reason"), [(True, Reason.PAUSED), (False, Reason.DISABLED)])
def test_a_paused_or_disabled_cron_lets_its_slots_pass_and_wants_no_look(*, enabled: bool, reason: Reason) -> None:
    plan = ask(a_cron(1, enabled=enabled), mark=0, now=5.5, paused=True)
    assert (plan.slots, plan.next) == ((), None)
    assert plan.skips == (skip(5, reason, 5),)


def test_a_mark_in_the_future_makes_nothing_due() -> None:
    plan = ask(a_cron(60), mark=3600, now=0)
    assert (plan.slots, plan.next) == ((), at(3660))


def test_an_expression_that_is_over_wants_no_look() -> None:
    over = datetime.max.replace(tzinfo=UTC)
    plan = due(a_cron("0 0 29 2 *"), State(name="cron", mark=over), over - timedelta(days=3650))
    assert plan.next is None


def test_jitter_delays_a_slot_which_is_claimed_as_what_it_is() -> None:
    cron = a_cron(60, jitter=59)
    wake = ask(cron, mark=0, now=0).next
    assert wake is not None
    assert at(60) < wake < at(119)
    just_before = due(cron, State(name="cron", mark=NOON), wake - timedelta(microseconds=1))
    assert just_before.slots == ()
    assert just_before.next == wake
    assert due(cron, State(name="cron", mark=NOON), wake).slots == (at(60),)


def test_with_jitter_no_slot_is_forgotten_when_the_next_one_has_come_but_is_not_ripe() -> None:
    cron = a_cron(60, jitter=59)
    wakes = []
    mark = NOON
    for _ in range(200):
        wake = due(cron, State(name="cron", mark=mark), mark).next
        assert wake is not None
        plan = due(cron, State(name="cron", mark=mark), wake)
        assert plan.slots == (mark + timedelta(seconds=60),)
        assert plan.skips == ()
        mark = plan.slots[0]
        wakes.append(wake)
    assert all(earlier < later for earlier, later in pairwise(wakes))


def test_while_a_slot_is_not_ripe_the_one_before_it_still_is() -> None:
    cron = a_cron(60, jitter=59)
    wake = due(cron, State(name="cron", mark=at(60)), at(60)).next
    assert wake is not None
    plan = due(cron, State(name="cron", mark=NOON), wake - timedelta(microseconds=1))
    assert (plan.slots, plan.skips, plan.next) == ((at(60),), (), wake)


def test_a_year_without_a_look_is_accounted_for_at_once() -> None:
    plan = ask(a_cron("* * * * *"), mark=0, now=366 * 86400)
    assert len(plan.slots) == 1
    assert plan.skips[0].slots == COUNTED, "expressions are counted one by one, and so far only"
    assert ask(a_cron(60), mark=0, now=366 * 86400).skips[0].slots == 366 * 1440 - 1
