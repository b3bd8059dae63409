"""The deadline of a process: who may put it off. Its polls may overlap, each in an event loop of its own."""

from __future__ import annotations

from math import inf

from support import Clock

from pseudocron import Crons
from pseudocron.process import Process


def watched() -> tuple[Clock, Process]:
    clock = Clock()
    return clock, Process(Crons(), clock.host)


def test_the_first_request_polls() -> None:
    assert watched()[1].deadline == -inf


def test_a_poll_puts_the_deadline_off_from_when_it_ends() -> None:
    clock, watch = watched()
    number = watch.poll_began()
    clock.forward(3)
    watch.poll_ended(number, 20)
    assert watch.deadline == 23


def test_an_older_poll_puts_off_nothing_that_a_newer_one_has_found() -> None:
    _, watch = watched()
    older, newer = watch.poll_began(), watch.poll_began()
    watch.poll_ended(newer, 5)
    watch.poll_ended(older, 60)
    assert watch.deadline == 5


def test_an_older_poll_may_bring_the_deadline_forward() -> None:
    _, watch = watched()
    older, newer = watch.poll_began(), watch.poll_began()
    watch.poll_ended(newer, 60)
    watch.poll_ended(older, 5)
    assert watch.deadline == 5


def test_a_poll_under_way_puts_off_nothing_that_became_due_meanwhile() -> None:
    _, watch = watched()
    number = watch.poll_began()
    watch.bring_forward()
    watch.poll_ended(number, 60)
    assert watch.deadline == -inf


def test_the_next_poll_puts_off_again_what_had_become_due() -> None:
    _, watch = watched()
    watch.bring_forward()
    watch.poll_ended(watch.poll_began(), 60)
    assert watch.deadline == 60


def test_a_request_that_polls_puts_the_deadline_off_for_a_second() -> None:
    clock, watch = watched()
    clock.forward(7)
    watch.request_polls()
    assert watch.deadline == 8
