"""Temporary: how an execution ended, until the executors return it themselves."""

from __future__ import annotations

from typing import NamedTuple

from pseudocron.backends.model import State as Outcome

__all__ = ["Outcome", "Result"]


class Result(NamedTuple):
    """How an execution ended."""

    outcome: Outcome
    error: str | None = None
    output: str | None = None
