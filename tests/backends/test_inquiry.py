"""On every store: what it takes to say why a cron did not run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from backends.worlds import NOON
from pseudocron.backends.records import Reason, Skip, Waited
from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.why import Fate, Waiting
from pseudocron.why.inquiry import inquire

if TYPE_CHECKING:
    from backends.worlds import World
    from pseudocron.why import Inquiry

MINUTE = timedelta(minutes=1)


def asked(world: World, *, concurrency: int = 10) -> Inquiry:
    crons = Crons(concurrency=concurrency)
    crons.add("mail", int, 60)
    open_source(crons).load()  # off the event loop
    return world.do(inquire(crons, world.backend, "mail", now=lambda: world.now))


def test_it_tells_of_runs_overlaps_and_times_without_traffic(world: World) -> None:
    missed = Skip(name="mail", slot=NOON - MINUTE, reason=Reason.NO_TRAFFIC, slots=9, first=NOON - 9 * MINUTE)
    world.do(world.backend.skip([missed]))
    world.forward(3)
    claim = world.claim(NOON, waited=Waited(request=2.5))
    world.forward(60)
    world.ask(NOON + MINUTE)
    overlap, running, nobody = asked(world).last(3)
    since = (NOON + timedelta(seconds=3)).isoformat()
    assert overlap.sentence == (
        f"skipped: overlap with run {claim.run_id} on host:1, running since {since}, max_instances is 1"
    )
    assert (running.kind, running.lateness, running.parts["request"]) == (Fate.RUNNING, 3, 2.5)
    assert (nobody.reason, nobody.slots, nobody.first) == (Reason.NO_TRAFFIC, 9, NOON - 9 * MINUTE)


def test_it_tells_what_a_slot_waits_for(world: World) -> None:
    world.state()
    world.forward(61)
    assert asked(world).last(1)[0].reason is Waiting.NOBODY
    world.do(world.backend.enter(60))
    (gate,) = asked(world).last(1)
    assert gate.reason is Waiting.GATE
    assert (NOON + timedelta(seconds=121)).isoformat() in gate.sentence
    world.forward(60)
    world.claim(name="bill")
    (full, _) = asked(world, concurrency=1).last(2)
    assert (full.reason, full.sentence.count("host:1")) == (Waiting.FULL, 1)
