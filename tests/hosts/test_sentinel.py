"""A primary dies, a sentinel puts its replica in its place, and the crons and jobs go on there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio.sentinel import Sentinel
from redis.sentinel import Sentinel as PlainSentinel
from support import wait_until

from hosts.cluster import sentinel
from pseudocron.backends.model import State
from pseudocron.crons import Crons
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("sentinels", [PlainSentinel, Sentinel])
def test_after_a_failover_jobs_are_where_they_were_and_new_ones_are_taken(tmp_path: Path, sentinels: Any) -> None:
    with sentinel(tmp_path) as (primary, replica, watcher):

        def make_client() -> Any:
            return sentinels([("127.0.0.1", watcher.port)]).master_for("mymaster")

        crons = Crons(backend=make_client, app="pseudocron")

        @crons.task
        def work(number: int) -> None: ...

        handle = work.defer_sync(1)
        wait_until(lambda: replica.do("EXISTS", f"{{pseudocron}}:run:{handle.id}"), 20)
        primary.kill()

        def taken() -> bool:
            try:
                work.defer_sync(2)
            except BackendError:
                return False
            return True

        wait_until(taken, 20)
        job = asyncio.run(crons.job(handle.id))
        assert job
        assert job.state is State.PENDING
        asyncio.run(crons._connect().close())
