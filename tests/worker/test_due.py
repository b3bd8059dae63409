"""What is due, what was missed, and when the next poll is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from pseudocron.backends.model import CronState, Reason, Skip
from pseudocron.backends.questions import Plan
from pseudocron.crons import Cron
from pseudocron.schedule import COUNTED, parse
from pseudocron.targets import Function
from pseudocron.worker.due import AT_MOST, Absence, plan

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def a_cron(schedule: object, **options: Any) -> Cron:
    return Cron(name="cron", target=Function(print, "builtins:print"), schedule=parse(schedule), **options)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def ask(cron: Cron, *, mark: float, now: float, paused: bool = False, **options: Any) -> Plan:
    return planned(cron, at(mark), at(now), paused=paused, **options)


def planned(cron: Cron, mark: datetime, now: datetime, **options: Any) -> Plan:
    absence = {"absence": options.pop("absence")} if "absence" in options else {}
    return plan(cron, CronState(name="cron", mark=mark, **options), now, since=mark, **absence)


def skip(seconds: float, reason: Reason, slots: int, *, every: float = 1, since: float | None = None) -> Skip:
    """The last of so many slots, one after another."""
    first, known = at(seconds - every * (slots - 1)), None if since is None else at(since)
    return Skip(name="cron", slot=at(seconds), reason=reason, slots=slots, first=first, since=known)


def test_nothing_is_due_before_the_next_slot() -> None:
    found = ask(a_cron(60), mark=0, now=59.9)
    assert (tuple(found.slots), found.skips, found.next) == ((), (), at(60))


def test_a_slot_is_due_at_its_very_instant() -> None:
    found = ask(a_cron(60), mark=0, now=60)
    assert (tuple(found.slots), found.skips, found.next) == ((at(60),), (), at(120))


def test_of_the_missed_slots_the_latest_runs_and_the_others_are_recorded() -> None:
    found = ask(a_cron(1), mark=0, now=5.5)
    assert tuple(found.slots) == (at(5),)
    assert found.skips == (skip(4, Reason.NO_TRAFFIC, 4),)


def test_slots_missed_without_a_store_are_told_from_those_without_traffic() -> None:
    found = ask(a_cron(1), mark=0, now=9.5, absence=Absence(polled=at(0.5), away=at(4)))
    assert tuple(found.slots) == (at(9),)
    assert found.skips == (
        skip(3, Reason.NO_TRAFFIC, 3, since=0.5),
        skip(8, Reason.BACKEND_DOWN, 5, since=4),
    )


@pytest.mark.parametrize("away", [-10, 0, 0.5, 1])
def test_a_store_away_before_the_first_missed_slot_is_the_reason(away: float) -> None:
    found = ask(a_cron(1), mark=0, now=5.5, absence=Absence(away=at(away)))
    assert found.skips == (skip(4, Reason.BACKEND_DOWN, 4, since=away),)


@pytest.mark.parametrize("away", [4.5, 5, 5.2])
def test_a_store_away_after_the_last_missed_slot_is_not_the_reason(away: float) -> None:
    found = ask(a_cron(1), mark=0, now=5.5, absence=Absence(away=at(away)))
    assert found.skips == (skip(4, Reason.NO_TRAFFIC, 4),)


def test_without_coalesce_every_missed_slot_runs() -> None:
    found = ask(a_cron(1, coalesce=False, max_instances=9), mark=0, now=5.5)
    assert tuple(found.slots) == tuple(at(slot) for slot in range(1, 6))
    assert found.skips == ()


def test_without_coalesce_at_most_the_last_hundred_run() -> None:
    found = ask(a_cron(1, coalesce=False, max_instances=200), mark=0, now=250)
    assert tuple(found.slots) == tuple(at(slot) for slot in range(151, 251))
    assert len(found.slots) == AT_MOST
    assert found.skips == (skip(150, Reason.NO_TRAFFIC, 150),)


def test_a_slot_within_its_grace_time_runs() -> None:
    assert ask(a_cron(60, misfire_grace_time=30), mark=0, now=90).slots == [at(60)]


def test_a_slot_beyond_its_grace_time_is_a_misfire() -> None:
    found = ask(a_cron(60, misfire_grace_time=30), mark=0, now=90.1)
    assert tuple(found.slots) == ()
    assert found.skips == (skip(60, Reason.MISFIRE, 1),)
    assert found.next == at(120)


def test_without_coalesce_only_the_slots_beyond_the_grace_time_are_misfires() -> None:
    found = ask(a_cron(1, coalesce=False, misfire_grace_time=2, max_instances=9), mark=0, now=5)
    assert tuple(found.slots) == (at(3), at(4), at(5))
    assert found.skips == (skip(2, Reason.MISFIRE, 2),)


def test_a_paused_cron_skips_slots_and_is_due_again_once_resumed() -> None:
    found = ask(a_cron(1), mark=0, now=5.5, paused=True)
    assert (tuple(found.slots), found.next) == ((), at(6))
    assert found.skips == (skip(5, Reason.PAUSED, 5),)


def test_a_disabled_cron_skips_its_slots() -> None:
    found = ask(a_cron(1, enabled=False), mark=0, now=5.5)
    assert (tuple(found.slots), found.skips) == ((), (skip(5, Reason.DISABLED, 5),))


def test_a_mark_in_the_future_makes_nothing_due() -> None:
    found = ask(a_cron(60), mark=3600, now=0)
    assert (tuple(found.slots), found.next) == ((), at(3660))


def test_an_expression_that_is_over_wants_no_poll() -> None:
    over = datetime.max.replace(tzinfo=UTC)
    found = planned(a_cron("0 0 29 2 *"), over, over - timedelta(days=3650))
    assert found.next is None


def test_jitter_delays_a_slot_which_is_claimed_as_what_it_is() -> None:
    cron = a_cron(60, jitter=59)
    wake = ask(cron, mark=0, now=0).next
    assert wake is not None
    assert at(60) < wake < at(119)
    just_before = planned(cron, NOON, wake - timedelta(microseconds=1))
    assert tuple(just_before.slots) == ()
    assert just_before.next == wake
    assert planned(cron, NOON, wake).slots == [at(60)]


def test_with_jitter_no_slot_is_forgotten() -> None:
    cron = a_cron(60, jitter=59)
    wakes = []
    mark = NOON
    for _ in range(200):
        wake = planned(cron, mark, mark).next
        assert wake is not None
        found = planned(cron, mark, wake)
        assert tuple(found.slots) == (mark + timedelta(seconds=60),)
        assert found.skips == ()
        mark = found.slots[0]
        wakes.append(wake)
    assert all(earlier < later for earlier, later in pairwise(wakes))


def test_while_a_slot_is_not_ripe_the_one_before_it_still_is() -> None:
    cron = a_cron(60, jitter=59)
    wake = planned(cron, at(60), at(60)).next
    assert wake is not None
    found = planned(cron, NOON, wake - timedelta(microseconds=1))
    assert (tuple(found.slots), found.skips, found.next) == ((at(60),), (), wake)


def test_a_year_without_a_poll_is_accounted_for_at_once() -> None:
    found = ask(a_cron("* * * * *"), mark=0, now=366 * 86400)
    assert len(found.slots) == 1
    assert found.skips[0].slots == COUNTED, "expressions are counted one by one, and so far only"
    assert ask(a_cron(60), mark=0, now=366 * 86400).skips[0].slots == 366 * 1440 - 1
