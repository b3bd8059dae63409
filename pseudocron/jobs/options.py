"""When, how and under which key a job is deferred: the options of one `defer`, checked, and what is stored of them."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.model import Conflict, NewJob
from pseudocron.config.settings import checked
from pseudocron.config.values import MOST, Check, aware, job_key, one_of, optional, span, whole
from pseudocron.dataclass import dataclass
from pseudocron.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What is asked of a job, whatever it is called with.

    Args:
        at: Not before this instant; one that has passed means now.
        delay: Not before so much later.
        key: Unique among the pending jobs of the task.
        on_conflict: What becomes of the key's other pending job.
        priority: Of the jobs that are due, the highest starts first.
        expires: Not after this instant, or this time from now.
    """

    at: datetime | None = None
    delay: timedelta | None = None
    key: str | None = None
    on_conflict: Conflict = Conflict.REPLACE
    priority: int = 0
    expires: datetime | timedelta | None = None

    def job(self, *, task: str, arguments: str, now: datetime) -> NewJob:
        """What is to be stored, in UTC; `ConfigError` if it could never start, however soon that is looked at."""
        due = now + self.delay if self.delay is not None else max(self.at or now, now)
        expires = now + self.expires if isinstance(self.expires, timedelta) else self.expires
        if expires is not None and now < due > expires:
            raise ConfigError(_too_soon(task))
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
    """An aware instant, or a time from now."""
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
    """JobOptions from options of these names; `ConfigError` if one is wrong, or two do not go together.

    Args:
        where: The task's name, for messages.
        options: The options that were given.
    """
    read = {name: checked(JOB_OPTIONS[name], value, f"{where}: {name}") for name, value in options.items()}
    terms = JobOptions(**{**read, "on_conflict": Conflict(read["on_conflict"])})
    if terms.at is not None and terms.delay is not None:
        raise ConfigError(f"{where}: at, delay: say one of them")
    soonest, latest = (terms.at, terms.expires) if terms.delay is None else (terms.delay, terms.expires)
    # Only what is of the same kind can be compared before it is known when this will be deferred.
    if isinstance(latest, type(soonest)) and soonest is not None and latest < soonest:  # type: ignore[operator]
        raise ConfigError(_too_soon(where))
    return terms


def _too_soon(where: str) -> str:
    return f"{where}: expires: is before it is due, must be later"


def _new_id(now: datetime) -> str:
    """A UUID of version 7: ids made later are higher, so that a store appends them instead of scattering them."""
    millis = int(now.timestamp() * 1000)
    chance = int.from_bytes(os.urandom(10))
    chance = chance & ~(0xF << 76) | 7 << 76
    chance = chance & ~(0x3 << 62) | 2 << 62
    return f"{millis << 80 | chance:032x}"
