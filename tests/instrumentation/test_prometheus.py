"""Metrics, as Prometheus reads them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from redis_server import shared
from worker.world import World

from pseudocron.crons import Crons
from pseudocron.instrumentation import prometheus
from pseudocron.polling import PollReason
from pseudocron.process import Process

if TYPE_CHECKING:
    from pathlib import Path


def count(registry: CollectorRegistry, metric: str, /, **labels: str) -> float | None:
    return registry.get_sample_value(f"pseudocron_{metric}", labels)


def crons_and_tasks() -> Crons:
    crons = Crons()

    @crons.every(60)
    def fine() -> None:
        pass

    @crons.task(retries=1)
    def broken() -> None:
        raise ValueError

    return crons


def test_runs_attempts_skips_and_losses_are_counted_by_their_outcome() -> None:
    crons, registry = crons_and_tasks(), CollectorRegistry()
    prometheus.instrument(crons, registry=registry)
    world = World(crons)

    async def main() -> None:
        await world.claimed_elsewhere(lease=1)
        await world.defer("broken")
        for _ in range(3):
            world.clock.forward(300)
            await world.poll_all()

    asyncio.run(main())
    runs = {
        (kind, name, outcome): count(registry, "runs_total", kind=kind, name=name, outcome=outcome)
        for kind, name in (("cron", "fine"), ("job", "broken"))
        for outcome in ("succeeded", "failed", "lost", "skipped")
    }
    assert {key: value for key, value in runs.items() if value} == {
        ("cron", "fine", "succeeded"): 3,
        ("cron", "fine", "lost"): 1,
        ("cron", "fine", "skipped"): 12,
        ("job", "broken", "failed"): 2,
    }
    success = count(registry, "last_success_timestamp_seconds", kind="cron", name="fine")
    assert success == world.clock.now.timestamp()
    assert count(registry, "last_success_timestamp_seconds", kind="job", name="broken") is None


def test_durations_and_latenesses_are_in_their_buckets() -> None:
    crons, registry = Crons(), CollectorRegistry()
    prometheus.instrument(crons, registry=registry)
    world = World(crons_with_a_slow_one(crons, []))

    async def main() -> None:
        await world.poll_all()
        world.clock.forward(60 + 7)
        await world.poll_all()

    asyncio.run(main())
    of_slow = {"kind": "cron", "name": "slow"}
    buckets = [count(registry, "run_lateness_seconds_bucket", **of_slow, le=le) for le in ("0.1", "5.0", "10.0")]
    assert buckets == [1, 1, 2]
    assert count(registry, "run_duration_seconds_count", **of_slow) == 2


def crons_with_a_slow_one(crons: Crons, seen: list[int]) -> Crons:
    crons.add("slow", lambda: seen.append(1), 60)
    return crons


@pytest.mark.parametrize("store", ["memory", "file", "redis"])
def test_looks_are_counted_by_what_came_of_them_and_jobs_by_how_many_wait(store: str, tmp_path: Path) -> None:
    backend = {"memory": "memory:", "file": f"file:{tmp_path}/store", "redis": shared().url}[store]
    crons, registry = Crons(backend=backend, app=uuid4().hex), CollectorRegistry()
    prometheus.instrument(crons, registry=registry)

    @crons.task
    def later() -> None:
        pass

    async def main() -> None:
        await later.options(delay=1000).defer_many([{}, {}, {}])
        runtime = Process(crons).runtime()
        for _ in range(2):
            await runtime.request_poll(PollReason.REQUEST)
        await runtime.close()

    asyncio.run(main())
    assert count(registry, "polls_total", result="polled") == 1
    assert count(registry, "polls_total", result="nothing_due") == 1
    assert count(registry, "jobs_pending") == 3
    assert count(registry, "jobs_oldest_age_seconds") == 0


def test_the_age_of_what_is_next_counts_from_when_it_was_due() -> None:
    from pseudocron.hooks.metrics import Metrics

    crons, registry = crons_and_tasks(), CollectorRegistry()
    prometheus.instrument(crons, registry=registry)
    world = World(crons)

    async def main() -> None:
        await world.defer("broken")
        world.clock.forward(90)
        observer = Metrics(world.backend, world.clock.host)
        await observer.count(crons._hooks.counts)

    asyncio.run(main())
    assert count(registry, "jobs_oldest_age_seconds") == 90
    assert count(registry, "jobs_pending") == 1, "not counted again so soon"


def test_several_crons_share_a_registry() -> None:
    registry = CollectorRegistry()
    worlds = []
    for _ in range(2):
        crons = crons_with_a_slow_one(Crons(), [])
        prometheus.instrument(crons, registry=registry)
        worlds.append(World(crons))
    for world in worlds:
        asyncio.run(world.poll_all())
    assert count(registry, "runs_total", kind="cron", name="slow", outcome="succeeded") == 2


PROCESS = """
import asyncio, sys
from pseudocron import Crons
from pseudocron.instrumentation import prometheus
from pseudocron.by_hand import tick_now
from pseudocron.process import Process

crons = Crons(backend=sys.argv[1])
prometheus.instrument(crons)

@crons.task
def work(): pass

@crons.task
def later(): pass

async def main():
    await work.defer_many([{}] * 3)
    await later.options(delay=1000).defer()
    seen = Process(crons)
    async for _ in tick_now(seen):
        pass
    await seen.runtime().close()

asyncio.run(main())
"""


def test_what_several_processes_count_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    for _ in range(2):
        subprocess.run([sys.executable, "-c", PROCESS, f"file:{tmp_path}/store"], check=True, timeout=60)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    of_work = {"kind": "job", "name": "work"}
    assert count(registry, "runs_total", **of_work, outcome="succeeded") == 6
    assert count(registry, "run_duration_seconds_count", **of_work) == 6
    assert count(registry, "jobs_pending") == 2, "as the last process to look has seen it"
    assert (count(registry, "last_success_timestamp_seconds", **of_work) or 0) > 0
    assert (count(registry, "polls_total", result="polled") or 0) >= 2
