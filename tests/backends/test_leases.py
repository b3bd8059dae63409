"""Contract of a backend: what becomes of a claim, its lease and its run, and who takes it over."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from backends.worlds import LEASE, NOON
from pseudocron.backends.records import Claim, Outcome, Refusal, Result

if TYPE_CHECKING:
    from backends.worlds import World

SECOND = timedelta(seconds=1)


def test_a_renewed_lease_outlives_its_first_end(world: World) -> None:
    claim = world.claim()
    world.forward(LEASE - 1)
    assert set(world.backend.renew([claim], LEASE)) == {claim.run_id}
    world.forward(LEASE - 1)
    assert not world.do(world.backend.reap()).lost
    world.forward(1)
    assert [run.run_id for run in world.do(world.backend.reap()).lost] == [claim.run_id]


def test_a_lease_that_is_over_but_not_reaped_can_be_renewed(world: World) -> None:
    claim = world.claim()
    world.forward(2 * LEASE)
    assert world.backend.renew([claim], LEASE)
    assert not world.do(world.backend.reap()).lost


def test_renewing_names_only_the_living(world: World) -> None:
    done, living = world.claim(name="mail"), world.claim(name="bill")
    world.finish(done)
    assert set(world.backend.renew([done, living], LEASE)) == {living.run_id}


def test_a_lease_is_renewed_from_a_plain_thread_while_the_loop_is_blocked(world: World) -> None:
    claim, renewed = world.claim(), list[str]()

    async def blocked() -> None:
        thread = Thread(target=lambda: renewed.extend(world.backend.renew([claim], LEASE)))
        thread.start()
        thread.join(10)

    world.do(blocked())
    assert renewed == [claim.run_id]


def test_a_lease_of_another_fence_is_neither_renewed_nor_finished(world: World) -> None:
    claim = world.claim()
    other = Claim(name="mail", slot=NOON, run_id=claim.run_id, fence=claim.fence + 1, attempt=1, started=NOON)
    assert not world.backend.renew([other], LEASE)
    assert not world.finish(other)
    assert world.state().running == 1


def test_finishing_ends_the_lease(world: World) -> None:
    world.finish(world.claim())
    assert world.state().running == 0
    world.claim(world.forward(1))


def test_a_run_is_finished_once(world: World) -> None:
    claim = world.claim()
    assert world.finish(claim, Outcome.FAILED)
    assert not world.finish(claim)
    assert world.state().failures == 1


def test_a_run_that_was_reaped_can_not_be_finished(world: World) -> None:
    claim = world.claim()
    world.forward(LEASE)
    world.do(world.backend.reap())
    assert not world.finish(claim)
    assert world.lines()[0].outcome is Outcome.LOST


def test_a_run_whose_lease_is_over_but_not_reaped_can_be_finished(world: World) -> None:
    claim = world.claim()
    world.forward(2 * LEASE)
    assert world.finish(claim)


def test_a_kept_lease_overlaps_and_is_renewed_until_it_is_released(world: World) -> None:
    claim = world.claim()
    world.finish(claim, Outcome.TIMED_OUT, keep_lease=True)
    assert world.ask(world.forward(1)) is Refusal.OVERLAP
    assert world.backend.renew([claim], LEASE)
    world.do(world.backend.release(claim))
    assert not world.backend.renew([claim], LEASE)
    world.claim(world.forward(1))


def test_releasing_a_run_that_goes_on_leaves_its_lease(world: World) -> None:
    claim = world.claim()
    world.do(world.backend.release(claim))
    assert world.state().running == 1


def test_a_kept_lease_that_is_over_ends_without_a_loss(world: World) -> None:
    world.finish(world.claim(), Outcome.TIMED_OUT, keep_lease=True)
    world.forward(LEASE)
    reaped = world.do(world.backend.reap())
    assert not reaped.lost
    assert world.lines()[0].outcome is Outcome.TIMED_OUT
    assert world.state().running == 0


def test_a_lost_run_is_named_once_and_recorded(world: World) -> None:
    claim = world.claim()
    world.forward(LEASE)
    (lost,) = world.do(world.backend.reap()).lost
    assert (lost.run_id, lost.outcome, lost.ended) == (claim.run_id, Outcome.LOST, world.now)
    assert world.lines() == [lost]
    again = world.do(world.backend.reap())
    assert not again.lost
    assert not again.orphans


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.INTERRUPTED])
def test_a_run_with_recover_waits_in_orphans_until_it_is_taken_over(world: World, outcome: Outcome) -> None:
    orphan = orphaned(world, outcome)
    for _ in range(2):
        assert [run.run_id for run in world.do(world.backend.reap()).orphans] == [orphan.run_id]
    claim = world.claim(NOON, recovers=orphan.run_id, recover=True)
    assert (claim.slot, claim.attempt, claim.fence > orphan.fence) == (NOON, 2, True)
    assert not world.do(world.backend.reap()).orphans


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.TIMED_OUT])
def test_a_run_that_ended_otherwise_is_not_recovered(world: World, outcome: Outcome) -> None:
    claim = world.claim(recover=True)
    world.finish(claim, outcome)
    assert not world.do(world.backend.reap()).orphans
    assert world.ask(NOON, recovers=claim.run_id) is Refusal.TAKEN


def test_a_lost_run_without_recover_is_not_recovered(world: World) -> None:
    claim = world.claim()
    world.forward(LEASE)
    world.do(world.backend.reap())
    assert world.ask(NOON, recovers=claim.run_id) is Refusal.TAKEN


def test_an_orphan_is_taken_over_once(world: World) -> None:
    orphan = orphaned(world, Outcome.LOST)
    world.finish(world.claim(NOON, recovers=orphan.run_id))
    assert world.ask(NOON, recovers=orphan.run_id) is Refusal.TAKEN


def test_an_orphan_is_taken_over_for_its_own_slot_and_cron_only(world: World) -> None:
    orphan = orphaned(world, Outcome.LOST)
    assert world.ask(NOON - SECOND, recovers=orphan.run_id) is Refusal.TAKEN
    assert world.ask(NOON, name="bill", recovers=orphan.run_id) is Refusal.TAKEN


def test_an_attempt_that_is_lost_again_is_counted_on(world: World) -> None:
    orphan = orphaned(world, Outcome.LOST)
    world.claim(NOON, recovers=orphan.run_id, recover=True)
    world.forward(LEASE)
    (again,) = world.do(world.backend.reap()).orphans
    assert world.claim(NOON, recovers=again.run_id).attempt == 3


def test_an_orphan_of_a_paused_cron_waits_on_without_a_record(world: World) -> None:
    orphan = orphaned(world, Outcome.LOST)
    world.do(world.backend.pause("mail"))
    assert world.ask(NOON, recovers=orphan.run_id) is Refusal.PAUSED
    assert len(world.lines()) == 1
    assert world.do(world.backend.reap()).orphans


def test_an_orphan_behind_a_living_lease_waits_on_without_a_record(world: World) -> None:
    orphan = orphaned(world, Outcome.LOST)
    world.claim(world.forward(1))
    assert world.ask(NOON, recovers=orphan.run_id) is Refusal.OVERLAP
    assert len(world.lines()) == 2
    assert world.do(world.backend.reap()).orphans


def test_recovering_an_old_slot_leaves_a_higher_mark(world: World) -> None:
    orphan = orphaned(world, Outcome.LOST)
    world.finish(world.claim(world.forward(1)))
    world.claim(NOON, recovers=orphan.run_id)
    assert world.state().mark == world.now


def test_recovering_after_a_reset_raises_the_mark_to_the_slot(world: World) -> None:
    orphan = orphaned(world, Outcome.LOST)
    world.do(world.backend.reset("mail", NOON - SECOND))
    world.finish(world.claim(NOON, recovers=orphan.run_id))
    assert world.ask(NOON) is Refusal.TAKEN


def test_an_interrupted_run_that_kept_its_lease_is_recovered_after_its_release(world: World) -> None:
    claim = world.claim(recover=True)
    world.finish(claim, Outcome.INTERRUPTED, keep_lease=True)
    assert world.ask(NOON, recovers=claim.run_id) is Refusal.OVERLAP
    world.do(world.backend.release(claim))
    assert world.claim(NOON, recovers=claim.run_id).attempt == 2


def orphaned(world: World, outcome: Outcome) -> Claim:
    """A claim of noon whose run was interrupted or lost."""
    claim = world.claim(NOON, recover=True)
    if outcome is Outcome.INTERRUPTED:
        world.do(world.backend.finish(claim, Result(outcome=outcome)))
    else:
        world.forward(LEASE)
        world.do(world.backend.reap())
    return claim


def test_a_reset_is_told_for_twice_the_configured_time(world: World) -> None:
    assert not world.do(world.backend.reap()).reset
    world.do(world.backend.reset("mail", NOON))
    world.do(world.backend.reset("rent", NOON))
    world.forward(119)
    assert sorted(world.do(world.backends[1].reap()).reset) == ["mail", "rent"]
    world.do(world.backend.reset("mail", NOON))
    world.forward(2)
    assert list(world.do(world.backends[1].reap()).reset) == ["mail"]
