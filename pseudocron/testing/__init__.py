"""Help for tests of applications (`FakeScheduler`) and of backends (`pseudocron.testing.conformance`, needs pytest)."""

from __future__ import annotations

from pseudocron.testing.scheduler import START, DeferredJob, FakeScheduler, FinishedRun

__all__ = ["START", "DeferredJob", "FakeScheduler", "FinishedRun"]
