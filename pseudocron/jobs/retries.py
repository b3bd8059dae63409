"""Temporary."""

from __future__ import annotations

from pseudocron.errors import ArgumentError
from pseudocron.jobs.tasks import Retry


def requested(raised: BaseException) -> Retry | None:
    """Return."""
    return raised if isinstance(raised, Retry) else None


def is_retryable(raised: BaseException, retry_for: tuple[type[BaseException], ...]) -> bool:
    """Return."""
    return isinstance(raised, retry_for) and not isinstance(raised, ArgumentError)
