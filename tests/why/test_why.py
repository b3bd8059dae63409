"""Each thing that may have become of a slot is told, with who, when and how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pseudocron.backends.model import Attempt, Blocker, CronState, Reason, State, Waited
from pseudocron.cron import Cron
from pseudocron.report import SKIPPED, HistoryLine
from pseudocron.schedule import parse
from pseudocron.targets import Function
from pseudocron.why import Fate, Inquiry, Scene, Waiting
from why.process import at

MINUTE = 60


def a_cron(schedule: object = MINUTE, **options: Any) -> Cron:
    return Cron(name="cron", target=Function(print, "builtins:print"), schedule=parse(schedule), **options)


def a_run(slot: float, outcome: str | None = State.SUCCEEDED, *, late: float = 2, **more: Any) -> HistoryLine:
    ended = at(slot + late + 5) if outcome else None
    known: dict[str, Any] = {
        "run_id": f"run{slot:g}",
        "name": "cron",
        "fence": 1,
        "attempt": 1,
        "worker": "web:1",
        "ended": ended,
    }
    return HistoryLine(**(known | {"slot": at(slot), "started": at(slot + late), "outcome": outcome} | more))


def a_skip(slot: float, reason: Reason, **more: Any) -> HistoryLine:
    return a_run(slot, SKIPPED, late=30, **{"fence": 0, "ended": at(slot + 30), "reason": reason} | more)


def ask(*lines: HistoryLine, cron: Cron | None = None, mark: float = 0, now: float = 30, **more: Any) -> Inquiry:
    scene = {name: more.pop(name) for name in ("fresh_until", "full", "keep") if name in more}
    counted = {
        "claims": sum(line.claims for line in lines),
        "missed": sum(line.slots for line in lines if line.is_skip),
    }
    state = CronState(name="cron", mark=at(mark), **(counted | more))
    return Inquiry(cron or a_cron(), state, lines, Scene(now=at(now), **scene), tell=lambda told: f"{told:%H:%M:%S}")


LIVING = (("run-60", "web:1"), ("b", "c:2"))
SKIPS = {
    "overlap": (
        a_skip(
            0, Reason.OVERLAP, blockers=(Blocker(run_id="run-60", worker="web:1"), Blocker(run_id="b", worker="c:2"))
        ),
        "skipped: overlap with run run-60 on web:1, running since 11:59:02 and run b on c:2, max_instances is 1",
    ),
    "misfire": (
        a_skip(0, Reason.MISFIRE),
        "skipped: misfire, the look at 12:00:30 was later than its misfire_grace_time of 20.0s",
    ),
    "paused": (a_skip(0, Reason.PAUSED), "skipped: the cron was paused, as a look at 12:00:30 found"),
    "disabled": (a_skip(0, Reason.DISABLED), "skipped: the cron was disabled, as a look at 12:00:30 found"),
    "backend_down": (
        a_skip(0, Reason.BACKEND_DOWN, since=at(-7)),
        "skipped: the store was away from 11:59:53 to 12:00:30",
    ),
    "clock_back": (
        a_skip(0, Reason.CLOCK_BACK),
        "skipped: the clock was back at 12:00:30, and comes a second time to what is dealt with",
    ),
    "changed": (a_skip(0, Reason.CHANGED), "skipped: the schedule was changed at 12:00:30, and it had not run by then"),
    "no_traffic": (
        a_skip(0, Reason.NO_TRAFFIC, since=at(-70), slots=2, first=at(-20)),
        (
            "skipped: nobody came by from 11:59:40 to 12:00:30: no request, no ticker, no tick, "
            "the last sign of anybody before at 11:59:07 (2 slots, the first 11:59:40)"
        ),
    ),
}


@pytest.mark.parametrize("reason", Reason)
def test_a_skip_is_told_with_its_reason(reason: Reason) -> None:
    line, sentence = SKIPS[reason]
    (why,) = ask(line, a_run(-60), cron=a_cron(misfire_grace_time=20)).last(1)
    assert (why.kind, why.reason, why.run, why.sentence) == (Fate.SKIPPED, reason, line, sentence)


def test_a_run_is_told_with_who_when_and_how_late_by_its_parts() -> None:
    waited = Waited(request=0.25, gate=0.5, capacity=0.75, store=0.4)
    (why,) = ask(a_run(0, waited=waited)).last(1)
    assert (why.kind, why.lateness) == (Fate.RAN, 2)
    assert why.parts == pytest.approx(
        {"request": 0.25, "gate": 0.5, "capacity": 0.75, "store": 0.4, "jitter": 0, "look": 0.1}
    )
    assert why.sentence == (
        "succeeded: web:1 began it 2.0s late (0.250s for a request, 0.500s for the gate, 0.750s for free capacity, "
        "0.400s for the store, 0.100s for the look), and it took 5.0s"
    )


def test_the_parts_of_a_lateness_are_its_sum_with_the_jitter() -> None:
    cron = a_cron(3600, jitter=600)
    jitter = (cron._wake(at(0)) - at(0)).total_seconds()
    (why,) = ask(a_run(0, late=jitter + 3, waited=Waited(request=2)), cron=cron, now=3000).last(1)
    assert why.parts == pytest.approx({"request": 2, "gate": 0, "capacity": 0, "store": 0, "jitter": jitter, "look": 1})


RUNS = {
    "nobody measured": (a_run(0), "succeeded: web:1 began it 2.0s late, and it took 5.0s"),
    "by hand": (a_run(0, late=0), "succeeded: web:1 began it when it was told to, and it took 5.0s"),
    "failed": (
        a_run(0, State.FAILED, error="Traceback\n  line\nZeroDivisionError: x\n"),
        "failed: web:1 began it 2.0s late, and it took 5.0s: ZeroDivisionError: x",
    ),
    "timed out": (a_run(0, State.TIMED_OUT), "timed out: web:1 began it 2.0s late, and it took 5.0s"),
    "interrupted": (
        a_run(0, State.INTERRUPTED),
        "interrupted: web:1 began it 2.0s late, and it took 5.0s; its slot is not run again without `at_least_once`",
    ),
    "running": (a_run(0, None), "is running: web:1 began it 2.0s late, at 12:00:02"),
    "lost": (
        a_run(0, State.LOST),
        (
            "lost: web:1 began it 2.0s late, and was found gone at 12:00:07; "
            "its slot is not run again without `at_least_once`"
        ),
    ),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_run_is_told_by_what_became_of_it(case: str) -> None:
    run, sentence = RUNS[case]
    (why,) = ask(run).last(1)
    kinds = {"running": Fate.RUNNING, "lost": Fate.LOST}
    assert (why.kind, why.parts, why.sentence) == (kinds.get(case, Fate.RAN), {}, sentence)


def an_attempt(start: float, outcome: State, *, worker: str = "web:1", error: str | None = None) -> Attempt:
    return Attempt(worker, at(start), at(start + 5), outcome, error)


def pending(outcome: State, *, due: float = 60, **more: Any) -> HistoryLine:
    """A run whose only attempt ended so, and that runs again."""
    return a_run(0, State.PENDING, due=at(due), earlier=(an_attempt(2, outcome, **more),))


PENDING = {
    "failed": (
        pending(State.FAILED, error="ValueError: x"),
        "failed, and runs again at 12:01:00: web:1 began it 2.0s late, and it failed after 5.0s: ValueError: x",
    ),
    "timed out": (
        pending(State.TIMED_OUT, due=9),
        "timed out, and runs again at the next poll: web:1 began it 2.0s late, and it timed out after 5.0s",
    ),
    "lost": (
        pending(State.LOST, due=9),
        "lost, and runs again at the next poll: web:1 began it 2.0s late, and was found gone at 12:00:07",
    ),
    "handed back": (
        pending(State.INTERRUPTED, due=9),
        "handed back, and runs again at the next poll: web:1 began it 2.0s late, and handed it back at 12:00:07",
    ),
}


@pytest.mark.parametrize("case", PENDING)
def test_a_run_that_runs_again_is_told_with_why_and_when(case: str) -> None:
    line, sentence = PENDING[case]
    (why,) = ask(line).last(1)
    assert (why.kind, why.run, why.sentence) == (Fate.RETRYING, line, sentence)
    assert ask(line, paused=True).last(1)[0].sentence.startswith(f"{case}, and runs again when the cron is resumed: ")
    disabled = ask(line, cron=a_cron(enabled=False)).last(1)[0].sentence
    assert disabled.startswith(f"{case}, and runs again when the cron is enabled: ")


def test_a_run_of_several_attempts_tells_of_each_who_when_and_how_it_ended() -> None:
    earlier = (an_attempt(2, State.LOST), an_attempt(20, State.FAILED, worker="web:2", error="ValueError: x"))
    told = (
        "web:1 began it 2.0s late, and was found gone at 12:00:07; "
        "web:2 began it again at 12:00:20, and it failed after 5.0s: ValueError: x; web:3 began it again at 12:00:40"
    )
    more: dict[str, Any] = {"late": 40, "worker": "web:3", "attempt": 3, "earlier": earlier}
    (running,) = ask(a_run(0, None, **more)).last(1)
    assert (running.lateness, running.sentence) == (2, f"is running: {told}")
    (ran,) = ask(a_run(0, **more)).last(1)
    assert (ran.lateness, ran.sentence) == (2, f"succeeded: {told}, and it took 5.0s")


def test_of_many_attempts_the_first_and_the_last_are_told() -> None:
    earlier = tuple(an_attempt(2 + 6 * number, State.LOST) for number in range(6))
    (why,) = ask(a_run(0, None, late=40, attempt=7, earlier=earlier), now=50).last(1)
    assert why.sentence == (
        "is running: web:1 began it 2.0s late, and was found gone at 12:00:07; 4 more attempts; "
        "web:1 began it again at 12:00:32, and was found gone at 12:00:37; web:1 began it again at 12:00:40"
    )


def test_a_run_that_was_lost_too_often_or_gave_way_tells_why_it_ended() -> None:
    earlier = (an_attempt(2, State.LOST), an_attempt(20, State.LOST))
    (lost,) = ask(a_run(0, State.FAILED, late=40, earlier=earlier, attempt=3, reason="lost 3 times")).last(1)
    assert lost.sentence.endswith("; web:1 began it again at 12:00:40, and it took 5.0s: lost 3 times")
    gone = a_run(0, State.REPLACED, earlier=(an_attempt(2, State.FAILED),), ended=at(60), reason="by a newer run")
    (replaced,) = ask(gone).last(1)
    assert replaced.sentence == ("replaced: web:1 began it 2.0s late, and it failed after 5.0s: by a newer run")


def waits(**more: Any) -> tuple[Waiting | Reason | None, str]:
    why = ask(mark=0, now=150, **more).last(1)[0]
    assert why.kind is Fate.WAITING
    return why.reason, why.sentence


def test_a_slot_that_nobody_has_dealt_with_tells_what_it_waits_for() -> None:
    assert waits(fresh_until=at(170)) == (
        Waiting.GATE,
        "not looked at yet: the gate is fresh until 12:02:50, and who comes by before does not look",
    )
    nobody = "not looked at yet: since it has come, nobody has come by: no request, no ticker, no tick"
    assert waits() == (Waiting.NOBODY, nobody)
    assert waits(full=("a:1", "b:2")) == (
        Waiting.FULL,
        "not looked at yet: there is no free capacity in a:1, b:2, and nobody else has come by",
    )
    assert waits(paused=True) == (Waiting.PAUSED, "the next look skips it: the cron is paused")
    assert waits(cron=a_cron(enabled=False)) == (Waiting.DISABLED, "the next look skips it: the cron is disabled")
    assert waits(cron=a_cron(coalesce=False), running=1) == (
        Waiting.INSTANCES,
        "waits for a run to end: 1 of cron go on, max_instances is 1",
    )


def test_of_several_that_wait_the_latest_runs_and_the_others_give_way_to_it() -> None:
    latest, others, *_ = ask(mark=0, now=200).last(9)
    assert (latest.slot, latest.slots, latest.reason) == (at(180), 1, Waiting.NOBODY)
    assert (others.slot, others.first, others.slots, others.reason) == (at(120), at(60), 2, Waiting.COALESCE)
    (why,) = ask(mark=0, now=200).at(at(60))
    assert (why.slot, why.reason) == (at(60), Waiting.COALESCE)


def test_of_a_paused_cron_all_that_wait_are_skipped_alike() -> None:
    every, *_ = ask(mark=0, now=200, paused=True).last(9)
    assert (every.slot, every.first, every.slots, every.reason) == (at(180), at(60), 3, Waiting.PAUSED)


def test_without_coalesce_all_that_wait_run() -> None:
    every, *_ = ask(mark=0, now=200, cron=a_cron(coalesce=False)).last(9)
    assert (every.slot, every.first, every.slots, every.reason) == (at(180), at(60), 3, Waiting.NOBODY)


def test_a_slot_in_its_jitter_and_one_that_is_ahead_have_not_come() -> None:
    cron = a_cron(3600, jitter=600)
    why, *_ = ask(cron=cron, mark=-1, now=1).last(1)
    assert (why.kind, why.sentence) == (Fate.COMING, f"waits for its jitter: it runs at {cron._wake(at(0)):%H:%M:%S}")
    (why,) = ask().at(at(600))
    assert (why.kind, why.sentence) == (Fate.COMING, "has not come yet")


def test_a_slot_before_the_history_that_is_kept_is_known_to_be_forgotten() -> None:
    inquiry = ask(a_run(0), a_run(-60), claims=40, keep=2)
    assert [why.kind for why in inquiry.last(9)] == [Fate.RAN, Fate.RAN, Fate.UNKNOWN]
    (why,) = inquiry.at(at(-3600))
    sentence = "not known any more: of each cron the last 2 runs and the last 2 skips are kept"
    assert (why.kind, why.sentence) == (Fate.UNKNOWN, sentence)


def test_a_slot_before_the_store_heard_of_the_cron_was_never_known() -> None:
    inquiry = ask(a_run(0))
    assert inquiry.at(at(-60))[0].sentence.startswith("never known: ")
    assert ask(mark=0).at(at(-60))[0].sentence.startswith("never known: ")


def test_a_slot_between_others_of_which_nothing_is_recorded_says_so() -> None:
    (why,) = ask(a_run(0), a_run(120), mark=120, now=130).at(at(60))
    assert (why.kind, why.sentence) == (
        Fate.UNKNOWN,
        "nothing is recorded: the cron was away then, or the mark, now 12:02:00, was set past it",
    )


def test_a_slot_from_before_the_schedule_was_changed_says_when_that_was() -> None:
    known: dict[str, Any] = {"since": at(90), "schedule": "60||0", "replaced": ("0 16 * * *|UTC|",)}
    (why,) = ask(mark=120, now=130, **known).at(at(60))
    assert why.kind is Fate.UNKNOWN
    assert why.sentence.startswith("the schedule was changed at 12:01:30")
    assert ask(a_run(120), mark=120, now=130, **known).at(at(120))[0].kind is Fate.RAN


@pytest.mark.parametrize("asked", [60, 180])
def test_while_another_schedule_counts_that_is_told(asked: float) -> None:
    (why,) = ask(mark=0, now=130, since=at(-5), schedule="0 16 * * *|UTC|").at(at(asked))
    assert why.kind is (Fate.COMING if asked > 130 else Fate.UNKNOWN)
    assert "another schedule counts since 11:59:55: at 16:00 every day (UTC)" in why.sentence


def test_no_slot_waits_while_another_schedule_counts() -> None:
    assert Fate.WAITING not in {why.kind for why in ask(mark=0, now=130, schedule="0 16 * * *|UTC|").last(9)}
    assert Fate.WAITING in {why.kind for why in ask(mark=0, now=130, schedule="60||0").last(9)}


def test_where_the_schedule_has_no_slot_the_nearest_two_are_named() -> None:
    (why,) = ask().at(at(-10))
    assert (why.kind, why.slot, why.nearest) == (Fate.NO_SLOT, at(-10), (at(-60), at(0)))
    assert why.sentence == "no slot of cron: every minute; the nearest are 11:59:00 and 12:00:00"


def test_a_schedule_that_is_over_has_one_neighbour() -> None:
    cron = a_cron("59 23 31 12 *")
    (why,) = ask(cron=cron).at(datetime(9999, 12, 31, 23, 59, 30, tzinfo=UTC))
    assert len(why.nearest) == 1


def test_a_whole_second_means_all_of_it() -> None:
    cron = a_cron(0.25)
    assert ask(a_run(0.0), cron=cron).at(at(0))[0].slot == at(0)
    line = a_run(7.75)
    (why,) = ask(line, cron=a_cron(MINUTE)).at(at(7))
    assert (why.kind, why.slot) == (Fate.RAN, at(7.75)), "of a run by hand, or by another schedule"
    exact = at(7.75) + timedelta(microseconds=1)
    assert ask(line, cron=a_cron(MINUTE)).at(exact)[0].kind is Fate.NO_SLOT


def test_each_slot_of_a_skip_of_many_is_told_by_its_line() -> None:
    line = a_skip(0, Reason.NO_TRAFFIC, slots=5, first=at(-240))
    inquiry = ask(line)
    for slot in range(-240, 1, MINUTE):
        (why,) = inquiry.at(at(slot))
        assert (why.slot, why.run) == (at(slot), line)
    assert inquiry.at(at(-300))[0].kind is Fate.UNKNOWN


def test_a_slot_that_ran_and_to_which_the_clock_came_again_is_told_twice() -> None:
    run, again = a_run(0), a_skip(60, Reason.CLOCK_BACK, slots=2, first=at(0))
    assert [why.run for why in ask(run, again, mark=60).at(at(0))] == [again, run]


def test_the_newest_come_first_and_as_many_as_are_asked_for() -> None:
    lines = [a_run(60 * number) for number in range(5)]
    inquiry = ask(*lines, mark=240, now=250)
    assert [why.slot for why in inquiry.last(3)] == [at(240), at(180), at(120)]
