"""Help for tests: of applications (`World`), and of backends (`pseudocron.testing.conformance`, which needs pytest)."""

from __future__ import annotations

from pseudocron.testing.world import MOMENT, START, Ran, World

__all__ = ["MOMENT", "START", "Ran", "World"]
