"""Check-ins, as they leave Sentry's own client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import sentry_sdk
from sentry_sdk.transport import Transport
from worker.world import World

from pseudocron.crons import Crons
from pseudocron.instrumentation import sentry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentry_sdk.envelope import Envelope


class Captured(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.check_ins: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.check_ins += [
            item.payload.json for item in envelope.items if item.type == "check_in" and item.payload.json
        ]


@pytest.fixture
def sent() -> Iterator[Captured]:
    transport = Captured()
    with sentry_sdk.isolation_scope():
        sentry_sdk.init(dsn="https://key@sentry.invalid/1", transport=transport, default_integrations=False)
        yield transport
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)


def test_a_run_checks_in_when_it_starts_and_when_it_has_ended(sent: Captured) -> None:
    crons = Crons()
    crons.add("Nightly report", lambda: None, "0 2 * * *", tz="Asia/Shanghai")
    crons.add("broken", dict.fromkeys, 300, timeout=None, args=[5])
    sentry.instrument(crons, slugs={"broken": "the-broken-one"})
    world = World(crons)

    async def main() -> None:
        for name in ("Nightly report", "broken"):
            await world.runs.start_by_hand(crons, name)
            await world.runs.idle()

    asyncio.run(main())
    fine, fine_end, broken, broken_end = sent.check_ins
    assert (fine["monitor_slug"], fine["status"], fine_end["status"]) == ("nightly-report", "in_progress", "ok")
    assert fine["check_in_id"] == fine_end["check_in_id"] != broken["check_in_id"]
    assert fine["monitor_config"]["schedule"] == {"type": "crontab", "value": "0 2 * * *"}
    assert (fine["monitor_config"]["timezone"], fine["monitor_config"]["max_runtime"]) == ("Asia/Shanghai", 17)
    assert (broken["monitor_slug"], broken_end["status"]) == ("the-broken-one", "error")
    assert broken["monitor_config"] == {"schedule": {"type": "interval", "value": 5, "unit": "minute"}}
    assert broken_end["duration"] == 0


def test_a_lost_run_checks_in_as_failed_under_the_id_that_its_process_gave(sent: Captured) -> None:
    crons = Crons()
    crons.add("fine", lambda: None, 10)
    sentry.instrument(crons)
    world = World(crons)

    async def main() -> str:
        (claim,) = await world.claimed_elsewhere(lease=1)
        world.clock.forward(2)
        await world.poll_all()
        return claim.run_id

    run_id = asyncio.run(main())
    (check_in,) = sent.check_ins
    assert (check_in["check_in_id"], check_in["status"]) == (run_id, "error")
    assert "monitor_config" not in check_in, "Sentry has no schedules of seconds"


def test_jobs_do_not_check_in(sent: Captured) -> None:
    crons = Crons()

    @crons.task
    def work() -> None:
        pass

    sentry.instrument(crons)
    world = World(crons)

    async def main() -> None:
        await world.defer("work")
        await world.poll_all()

    asyncio.run(main())
    assert not sent.check_ins
