"""Contract of a backend: who gets a slot, and why another does not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from backends.worlds import LEASE, NOON
from pseudocron.backends.records import Claim, Outcome, Proposal, Reason, Refusal

if TYPE_CHECKING:
    from backends.worlds import World

SECOND = timedelta(seconds=1)


def test_a_slot_that_has_come_is_granted_with_its_name_slot_and_start(world: World) -> None:
    claim = world.claim(NOON - SECOND)
    assert (claim.name, claim.slot, claim.started, claim.attempt) == ("mail", NOON - SECOND, NOON, 1)


def test_a_slot_ahead_of_the_backends_clock_is_early_and_changes_nothing(world: World) -> None:
    assert world.ask(NOON + world.backend.precision) is Refusal.EARLY
    assert world.lines() == []
    world.claim(NOON - SECOND)


def test_a_slot_is_granted_once(world: World) -> None:
    world.finish(world.claim())
    assert world.ask() is Refusal.TAKEN


def test_a_slot_below_the_mark_is_taken(world: World) -> None:
    world.finish(world.claim())
    assert world.ask(NOON - world.backend.precision) is Refusal.TAKEN
    assert len(world.lines()) == 1


def test_another_process_sees_the_slot_as_taken(world: World) -> None:
    world.claim()
    proposal = Proposal(name="mail", slot=NOON, worker="host:2", lease=LEASE)
    assert world.do(world.backends[1].claim(proposal)) is Refusal.TAKEN


def test_of_fifty_claims_of_a_slot_at_once_one_is_granted(world: World) -> None:
    proposal = Proposal(name="mail", slot=NOON, worker="host:1", lease=LEASE)

    async def rush() -> list[Claim | Refusal]:
        return await asyncio.gather(*(world.backends[n % 2].claim(proposal) for n in range(50)))

    answers = world.do(rush())
    assert sum(isinstance(answer, Claim) for answer in answers) == 1
    assert answers.count(Refusal.TAKEN) == 49


def test_crons_do_not_stand_in_each_others_way(world: World) -> None:
    claims = [world.claim(name="mail"), world.claim(name="bill")]
    assert [claim.name for claim in claims] == ["mail", "bill"]


def test_a_first_mark_is_given_once_and_takes_the_slots_up_to_it(world: World) -> None:
    assert world.state().mark == NOON
    world.forward(60)
    assert world.state().mark == NOON
    assert world.ask(NOON) is Refusal.TAKEN


def test_the_mark_grows_with_a_claim_and_never_shrinks(world: World) -> None:
    world.finish(world.claim())
    world.ask(NOON - 5 * SECOND)
    world.skip(NOON - SECOND)
    assert world.state().mark == NOON


def test_the_mark_keeps_the_declared_precision(world: World) -> None:
    slot = NOON - 7 * world.backend.precision
    world.claim(slot)
    assert world.state().mark == slot == world.lines()[0].slot


def test_a_claim_while_another_lease_lives_is_an_overlap_recorded_as_a_skip(world: World) -> None:
    world.claim()
    assert world.ask(world.forward(1)) is Refusal.OVERLAP
    skip = world.lines()[0]
    assert (skip.outcome, skip.reason, skip.slot) == (Outcome.SKIPPED, Reason.OVERLAP, NOON + SECOND)
    assert (skip.fence, skip.attempt, skip.worker) == (0, 0, "host:1")
    assert skip.started == skip.ended == NOON + SECOND


def test_an_overlap_takes_the_slot(world: World) -> None:
    claim = world.claim()
    world.ask(world.forward(1))
    world.finish(claim)
    assert world.ask(NOON + SECOND) is Refusal.TAKEN


def test_as_many_leases_live_as_max_instances_allows(world: World) -> None:
    answers = [world.ask(world.forward(1), max_instances=3) for _ in range(4)]
    assert [isinstance(answer, Claim) for answer in answers] == [True, True, True, False]
    assert world.state().running == 3


def test_a_paused_cron_is_refused_and_its_slot_recorded_and_taken(world: World) -> None:
    world.do(world.backend.pause("mail"))
    assert world.ask() is Refusal.PAUSED
    world.do(world.backend.resume("mail"))
    assert world.ask() is Refusal.TAKEN
    assert [line.reason for line in world.lines()] == [Reason.PAUSED]
    world.claim(world.forward(1))


def test_a_paused_cron_whose_run_goes_on_is_refused_as_paused(world: World) -> None:
    world.claim()
    world.do(world.backend.pause("mail"))
    assert world.ask(world.forward(1)) is Refusal.PAUSED


def test_a_paused_crons_early_slot_is_early_and_its_old_slot_taken(world: World) -> None:
    world.claim()
    world.do(world.backend.pause("mail"))
    assert world.ask(NOON + SECOND) is Refusal.EARLY
    assert world.ask(NOON) is Refusal.TAKEN


def test_a_cron_can_be_paused_before_it_is_known(world: World) -> None:
    world.do(world.backend.pause("mail"))
    state = world.state()
    assert state.paused
    assert state.mark == NOON


def test_the_fence_grows_with_every_claim_and_over_a_reset(world: World) -> None:
    first, second = world.run().fence, world.run().fence
    world.do(world.backend.reset("mail", NOON))
    assert 0 < first < second < world.run().fence


def test_a_reset_sets_the_mark_down_and_up(world: World) -> None:
    world.finish(world.claim())
    world.do(world.backend.reset("mail", NOON - SECOND))
    assert world.state().mark == NOON - SECOND
    assert world.finish(world.claim())
    world.do(world.backend.reset("mail", NOON + SECOND))
    assert world.ask(world.forward(1)) is Refusal.TAKEN


def test_a_reset_of_a_cron_never_seen_gives_it_a_mark(world: World) -> None:
    world.do(world.backend.reset("mail", NOON - SECOND))
    assert world.state().mark == NOON - SECOND
