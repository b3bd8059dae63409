"""What every test runs under."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_blocking_on_the_event_loop() -> Iterator[None]:
    """Fail on any blocking call that pseudocron makes on an event loop, an `os.stat` included."""
    with blockbuster_ctx("pseudocron") as guard:
        for blocking in guard.functions.values():  # a loop of our own, on which nothing of the application runs
            blocking.can_block_in("pseudocron/backends/redis/thread.py", "_run")
        yield


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKEND", "DURABILITY", "APP", "TZ", "DRAIN", "CONCURRENCY", "LEASE", "HISTORY", "ENABLED", "CRONS"):
        monkeypatch.delenv(f"PSEUDOCRON_{name}", raising=False)
    for name in ("CRON_MAX_TIME", "COLUMNS"):  # the width too, which a shell may export
        monkeypatch.delenv(name, raising=False)
