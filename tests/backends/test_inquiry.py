"""On every store: what it takes to say why a cron did not run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backends.stores import STORES
from pseudocron.backends.model import Reason, Skip, Waited
from pseudocron.backends.questions import Refusal
from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.testing.conformance.cluster import Cluster
from pseudocron.testing.conformance.times import MINUTE, NOON, SECOND
from pseudocron.why import Fate, Waiting
from pseudocron.why.inquiry import inquire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pseudocron.testing.conformance.process import Process
    from pseudocron.why import Inquiry


@pytest.fixture(params=STORES)
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    cluster = Cluster(STORES[request.param](tmp_path))
    cluster.forward(0)
    process = cluster.process()
    process.crons = {"mail": 1, "bill": 1}
    yield process
    cluster.close()


def asked(process: Process, *, concurrency: int = 10) -> Inquiry:
    crons = Crons(concurrency=concurrency)
    crons.add("mail", int, 60)
    open_source(crons).load()  # off the event loop
    cluster = process.cluster
    return cluster.run(inquire(crons, process.backend, "mail", now=lambda: cluster.now))


def test_it_tells_of_runs_overlaps_and_times_without_traffic(process: Process) -> None:
    cluster = process.cluster
    missed = Skip("mail", NOON - MINUTE, Reason.NO_TRAFFIC, slots=9, first=NOON - 9 * MINUTE)
    cluster.forward(3)
    claim = process.slot(NOON, name="mail", skips=[missed], waited=[Waited(request=2.5)])
    cluster.forward(60)
    slot = NOON + MINUTE
    polled = process.poll(process.plan(slot, name="mail"), holding=[claim])
    assert [refused.why for refused in polled.refused] == [Refusal.OVERLAP]
    overlap, running, nobody = asked(process).last(3)
    since = (NOON + 3 * SECOND).isoformat()
    assert overlap.sentence == (
        f"skipped: overlap with run {claim.run_id} on host:1, running since {since}, max_instances is 1"
    )
    assert (running.kind, running.lateness, running.parts["request"]) == (Fate.RUNNING, 3, 2.5)
    assert (nobody.reason, nobody.slots, nobody.first) == (Reason.NO_TRAFFIC, 9, NOON - 9 * MINUTE)


def test_it_tells_what_a_slot_waits_for(process: Process) -> None:
    cluster = process.cluster
    process.poll(process.plan(name="mail", since=NOON, schedule="60||0", next=NOON + timedelta(days=1)))
    cluster.forward(61)
    assert asked(process).last(1)[0].reason is Waiting.NOBODY
    process.poll()
    (gate,) = asked(process).last(1)
    assert gate.reason is Waiting.GATE
    assert (NOON + 121 * SECOND).isoformat() in gate.sentence
    cluster.forward(60)
    process.start("bill")
    (full, _) = asked(process, concurrency=1).last(2)
    assert (full.reason, full.sentence.count("host:1")) == (Waiting.FULL, 1)
