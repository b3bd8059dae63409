"""The schedules of crons: which one counts, since when, and which ones it has replaced."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pseudocron.backends.model import Kind, Reason, Skip
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import HOUR, MINUTE, NOON, SECOND

if TYPE_CHECKING:
    from pseudocron.backends.questions import Plan
    from pseudocron.testing.conformance.process import Process

KEPT = 20


def takeover(process: Process, new: str, **options: Any) -> Plan:
    """Return a plan by which a schedule takes over now from the one that is stored."""
    now, old = process.cluster.now, process.state().schedule
    return process.plan(schedule=new, **{"replaces": old, "counts_from": now, **options})


class TakeoverTests(Base):
    """Schedules that take over, and plans from another schedule than the stored one."""

    def test_a_schedule_counts_from_when_it_takes_over(self, one: Process) -> None:
        one.slot(NOON - MINUTE, schedule="old")
        now = one.cluster.forward(1)
        polled = one.poll(takeover(one, "new", next=NOON + HOUR))
        state = one.state()
        assert (state.schedule, state.since, state.mark, state.next) == ("new", now, NOON - MINUTE, NOON + HOUR)
        assert (state.replaced, state.floor, polled.outdated) == (("old",), now, {})

    def test_the_slots_of_the_old_schedule_are_skipped(self, one: Process) -> None:
        one.poll(one.plan(schedule="old"))
        changed = Skip("tick", NOON - SECOND, Reason.CHANGED, 3, NOON - MINUTE)
        one.poll(takeover(one, "new", skips=[changed]))
        assert one.skips() == [(Reason.CHANGED, 3)]
        assert (one.state().mark, one.state().missed) == (NOON - SECOND, 3)

    def test_the_first_schedule_replaces_none(self, one: Process) -> None:
        one.poll(one.plan(schedule="first"))
        assert (one.state().schedule, one.state().replaced, one.poll().takeovers) == ("first", (), 0)

    def test_a_schedule_that_goes_on_replaces_none(self, one: Process) -> None:
        one.poll(one.plan(schedule="old"))
        one.slot(schedule="old")
        assert (one.state().since, one.state().replaced, one.poll().takeovers) == (NOON - HOUR, (), 0)

    def test_a_plan_by_another_schedule_is_outdated(self, one: Process, two: Process) -> None:
        plan = two.plan(NOON, schedule="old")
        one.poll(one.plan(schedule="new", next=NOON + SECOND))
        polled = two.poll(plan)
        assert (polled.claims, polled.outdated) == ([], {"tick": two.state()})
        assert (two.state().schedule, two.state().next, two.runs()) == ("new", NOON + SECOND, [])

    def test_a_plan_from_before_a_takeover_is_outdated(self, one: Process, two: Process) -> None:
        one.poll(one.plan(schedule="old"))
        plan = two.plan(NOON, schedule="old")
        one.poll(takeover(one, "new"))
        polled = two.poll(plan)
        assert (polled.claims, list(polled.outdated)) == ([], ["tick"])
        assert two.state().schedule == "new"

    def test_of_two_takeovers_of_one_schedule_the_second_is_outdated(self, one: Process, two: Process) -> None:
        one.poll(one.plan(schedule="old"))
        plan = takeover(two, "newest")
        one.poll(takeover(one, "new"))
        assert list(two.poll(plan).outdated) == ["tick"]
        assert (one.state().schedule, one.state().replaced) == ("new", ("old",))

    def test_a_plan_from_an_older_since_is_outdated(self, one: Process, two: Process) -> None:
        one.poll(one.plan(schedule="old"))
        plan = two.plan(NOON, schedule="old")
        one.poll(one.plan(schedule="old", counts_from=NOON))
        assert list(two.poll(plan).outdated) == ["tick"]
        assert (two.state().since, two.runs()) == (NOON, [])

    def test_a_plan_from_before_a_reset_to_the_same_mark_is_outdated(self, one: Process, two: Process) -> None:
        one.slot(NOON - MINUTE, schedule="old")
        one.poll(one.plan(schedule="old", counts_from=NOON))
        plan = two.plan(schedule="old")
        one.reset(NOON - MINUTE)
        assert list(two.poll(plan).outdated) == ["tick"]
        assert two.state().floor == NOON - MINUTE

    def test_a_schedule_that_was_away_counts_from_now_and_replaces_none(self, one: Process) -> None:
        one.slot(NOON - HOUR, schedule="old")
        now = one.cluster.forward(1)
        one.poll(one.plan(schedule="old", counts_from=now))
        state = one.state()
        assert (state.since, state.mark, state.schedule, state.replaced) == (now, NOON - HOUR, "old", ())
        assert one.poll().takeovers == 0

    def test_a_reset_stays_with_the_schedule(self, one: Process) -> None:
        one.poll(one.plan(schedule="old"))
        one.poll(takeover(one, "new"))
        one.reset(NOON - HOUR)
        state = one.state()
        assert (state.schedule, state.replaced, state.floor) == ("new", ("old",), NOON - HOUR)

    # What was replaced

    def test_takeovers_are_counted(self, one: Process, two: Process) -> None:
        one.crons = two.crons = {"tick": 1, "tock": 1}
        one.poll(one.plan(schedule="old"), one.plan(name="tock", schedule="old"))
        assert one.poll(takeover(one, "new")).takeovers == 1
        tock = one.plan(name="tock", schedule="new", replaces="old", counts_from=NOON)
        assert one.poll(takeover(one, "newer"), tock).takeovers == 3
        assert two.poll().takeovers == 3

    def test_a_schedule_that_takes_over_again_is_replaced_no_longer(self, one: Process) -> None:
        one.poll(one.plan(schedule="a"))
        for new, replaced in (("b", ("a",)), ("c", ("a", "b")), ("a", ("b", "c")), ("b", ("c", "a"))):
            one.poll(takeover(one, new))
            assert one.state().replaced == replaced

    def test_the_last_replaced_schedules_are_kept(self, one: Process) -> None:
        one.poll(one.plan(schedule="0"))
        for number in range(1, KEPT + 3):
            one.poll(takeover(one, f'{number} "quoted" é'))
        replaced = one.state().replaced
        assert (len(replaced), replaced[-1]) == (KEPT, f'{KEPT + 1} "quoted" é')
        assert "0" not in replaced

    # When a cron was seen

    def test_a_cron_that_no_poll_has_named_was_not_seen(self, one: Process) -> None:
        one.crons = {}
        one.poll()
        assert one.state().seen is None

    def test_a_poll_that_names_a_cron_has_seen_it(self, one: Process, two: Process) -> None:
        two.crons = {}
        one.poll(one.plan())
        for _ in range(3):
            one.cluster.forward(60)
            two.poll()
        seen = one.state().seen
        assert seen == NOON
        one.poll()
        assert one.state().seen == NOON + 3 * MINUTE

    def test_that_it_was_seen_is_known_for_weeks(self, one: Process, two: Process) -> None:
        two.crons = {}
        one.poll(one.plan())
        for _ in range(4):
            one.cluster.forward(timedelta(days=7).total_seconds())
            two.poll()
        assert one.state().seen == NOON
        one.poll(resting=[(Kind.JOB, "mail")])
        assert one.state().seen == NOON + timedelta(days=28)

    def test_the_states_tell_the_largest_cron_max_time_in_use(self, one: Process, two: Process) -> None:
        two.backend.cron_max_time = 300
        two.poll()
        states = one.cluster.run(one.backend.states(["tick"]))
        assert (states.cron_max_time, states.polled) == (300, NOON)
        one.cluster.forward(601)
        assert one.cluster.run(one.backend.states(["tick"])).cron_max_time == 60
