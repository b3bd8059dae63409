"""Words for times, as the tests of the suite use them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
LEASE = 30.0
