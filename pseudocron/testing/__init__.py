"""Help for tests: of applications, a scheduler whose clock the test moves; of backends, a conformance suite."""

from __future__ import annotations

from pseudocron.testing.scheduler import START, DeferredJob, FakeScheduler, FinishedRun

__all__ = ["START", "DeferredJob", "FakeScheduler", "FinishedRun"]
