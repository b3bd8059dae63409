"""Options of a deferred job: when, how and under which key it runs."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.model import LATEST, Conflict
from pseudocron.backends.questions import NewJob
from pseudocron.config.settings import checked
from pseudocron.config.values import MOST, Check, aware, job_key, one_of, optional, span, whole
from pseudocron.dataclass import dataclass
from pseudocron.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """The options of a job.

    Args:
        at: Earliest start; an instant in the past means now.
        delay: Time from the call of `defer` to the earliest start.
        key: Unique among the pending jobs of the task.
        on_conflict: What happens to another pending job with the key.
        priority: The due job with the highest priority starts first.
        expires: Latest start: an instant, or a time from the call of `defer`.
    """

    at: datetime | None = None
    delay: timedelta | None = None
    key: str | None = None
    on_conflict: Conflict = Conflict.REPLACE
    priority: int = 0
    expires: datetime | timedelta | None = None

    def job(self, *, task: str, arguments: str, now: datetime) -> NewJob:
        """Return the job to store, in UTC; `ConfigError` if it would expire before it is due."""
        due = now + self.delay if self.delay is not None else max(self.at or now, now)
        expires = now + self.expires if isinstance(self.expires, timedelta) else self.expires
        if expires is not None and now < due > expires:
            raise ConfigError(_too_soon(task))
        if due >= LATEST:
            raise ConfigError(f"{task}: is due after {LATEST.year - 1}, must be earlier")
        if expires is not None and expires >= LATEST:
            fix = "must be earlier; leave it out for a job that never expires"
            raise ConfigError(f"{task}: expires: is after {LATEST.year - 1}, {fix}")
        return NewJob(
            run_id=_new_id(now),
            task=task,
            arguments=arguments,
            due=due,
            key=self.key,
            on_conflict=self.on_conflict,
            priority=self.priority,
            expires=expires,
        )


def _until(value: object) -> datetime | timedelta:
    """Return an aware instant, or a time from now."""
    try:
        return aware(value) if isinstance(value, datetime) else span(value)
    except ValueError:
        raise ValueError("must be an aware datetime, a number of seconds of 0 or more, or a timedelta") from None


JOB_OPTIONS: Mapping[str, Check] = {
    "at": optional(aware),
    "delay": optional(span),
    "key": optional(job_key),
    "on_conflict": one_of(*Conflict),
    "priority": whole(-MOST),
    "expires": optional(_until),
}


def read_job_options(where: str, options: Mapping[str, object]) -> JobOptions:
    """Return checked options; `ConfigError` if one is wrong, or two exclude each other.

    Args:
        where: The task's name, for messages.
        options: The options that were given.
    """
    read = {name: checked(JOB_OPTIONS[name], value, f"{where}: {name}") for name, value in options.items()}
    checked_options = JobOptions(**{**read, "on_conflict": Conflict(read["on_conflict"])})
    if checked_options.at is not None and checked_options.delay is not None:
        raise ConfigError(f"{where}: at, delay: exclude each other; give one of them")
    latest = checked_options.expires
    soonest = checked_options.at if checked_options.delay is None else checked_options.delay
    # Two instants, or two times from now, can be compared before the call of `defer` is known.
    if isinstance(latest, type(soonest)) and soonest is not None and latest < soonest:  # type: ignore[operator]
        raise ConfigError(_too_soon(where))
    return checked_options


def _too_soon(where: str) -> str:
    return f"{where}: expires: is before the job is due, must be later"


def _new_id(now: datetime) -> str:
    """Return a UUID of version 7: later ids are higher, so that a store appends them."""
    millis = int(now.timestamp() * 1000)
    chance = int.from_bytes(os.urandom(10))
    chance = chance & ~(0xF << 76) | 7 << 76
    chance = chance & ~(0x3 << 62) | 2 << 62
    return f"{millis << 80 | chance:032x}"
