"""Cron: a recurring entry, with its target, schedule and options."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from pseudocron.config.entries import check_call, check_parcel, check_surroundings, in_process
from pseudocron.dataclass import dataclass
from pseudocron.errors import ConfigError
from pseudocron.hooks import Hooks, own_hooks
from pseudocron.schedule import Interval, parse
from pseudocron.schedule.definitions import definition
from pseudocron.targets import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from pseudocron.config.entries import Entry
    from pseudocron.config.settings import Settings
    from pseudocron.schedule import Schedule
    from pseudocron.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A recurring entry, checked and ready to run.

    Args:
        name: Name of the cron in the store and in logs.
        target: The callable, script or command line that runs.
        schedule: When it runs. The phase of an interval is `last_run` or `next_run` if given, else the Unix epoch.
        last_run: When it last ran before it was stored, aware UTC.
        next_run: The first slot of an interval, aware UTC.
        timeout: Seconds after which a run is ended; None for never.
        coalesce: Whether only the latest of several missed slots runs; otherwise each of the last 100 runs.
        misfire_grace_time: Seconds after which a slot is too late to run; None for never.
        max_instances: Maximum number of its runs at once.
        jitter: Maximum random delay after the slot, in seconds.
        retries: Maximum number of retries of a failed run within its slot.
        at_least_once: Run a slot again if its run was lost or interrupted. By default a slot runs at most once.
        process: Whether the function runs in a child process. A script and a command line always do.
        tolerance: Seconds by which a slot may be late before `health` reports it as overdue; None for the default rule.
        enabled: False skips its slots.
        ping: URL that is requested when a run starts, succeeds or fails.
        env: Variables of its child process, besides those of the server.
        cwd: The working folder of its child process; that of the server if None.
        args: Arguments by position.
        kwargs: Arguments by name.
    """

    name: str
    target: Target
    schedule: Schedule
    last_run: datetime | None = None
    next_run: datetime | None = None
    timeout: float | None = 1000.0
    coalesce: bool = True
    misfire_grace_time: float | None = None
    max_instances: int = 1
    jitter: float = 0.0
    retries: int = 0
    at_least_once: bool = False
    process: bool = False
    tolerance: float | None = None
    enabled: bool = True
    ping: str | None = field(default=None, repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    _hooks: Hooks = field(default_factory=Hooks, repr=False, compare=False)
    _definition: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_definition", definition(self.schedule))

    def _wake(self, slot: datetime) -> datetime:
        """Return when the run of a slot is due: the slot and its jitter."""
        if not self.jitter:
            return slot
        from pseudocron.schedule.jitter import jittered  # noqa: PLC0415  jitter is rare

        return jittered(self.name, slot, jitter=self.jitter, schedule=self.schedule)

    def _first_mark(self, now: datetime) -> datetime:
        """Return the mark of this cron in a store that does not have it yet, aware UTC, at most `now`.

        The mark is `last_run` if given, or lies one interval before `next_run`. Otherwise an interval is due now, for
        the latest slot of its phase, and a clock-time schedule waits for its first slot: a nightly report must not run
        at deployment.
        """
        if self.last_run is not None:
            return min(self.last_run, now)
        if not isinstance(self.schedule, Interval):
            return now
        try:
            if self.next_run is not None:
                return min(self.next_run - self.schedule.every, now)
            # Exactly one slot lies in a stretch as long as the interval.
            latest = self.schedule.latest(now - self.schedule.every, now)
            return latest - self.schedule.every if latest else now
        except OverflowError:  # an interval of millennia
            return now


def build(name: str, entry: Entry, settings: Settings, hooks: Hooks) -> Cron:
    """Return the cron of an entry, with its target resolved; `PseudoCronError` if something of it is wrong.

    Args:
        name: Its name.
        entry: What was written.
        settings: Of the `Crons`.
        hooks: Of the `Crons`.
    """
    options = dict(entry.options)
    schedule = parse(entry.schedule, options.pop("tz", None) or settings.tz)
    schedule = phased(schedule, options.get("last_run"), options.get("next_run"))
    target = resolve(entry.target, folder=settings.folder, script=entry.script)
    process = in_process(options.pop("executor", None), target)
    options["cwd"] = check_surroundings(target, options, process=process, folder=settings.folder)
    hooks = own_hooks(hooks, name, options.get("ping"))
    cron = Cron(name=name, target=target, schedule=schedule, process=process, _hooks=hooks, **options)
    check_call(target, cron.args, cron.kwargs)
    if cron.process:
        check_parcel(cron.args, cron.kwargs)
    return cron


def phased(schedule: Schedule, last_run: datetime | None, next_run: datetime | None) -> Schedule:
    """Return a schedule, with the phase that a last or the next run gives to an interval.

    Raises:
        ConfigError: Both are given, or there is a next run and no interval.
    """
    if next_run is None:
        return schedule.anchored(last_run) if last_run and isinstance(schedule, Interval) else schedule
    if last_run is not None:
        raise ConfigError("has both 'last_run' and 'next_run', keep one of them")
    if not isinstance(schedule, Interval):
        raise ConfigError("next_run: only an interval takes it, a clock time says itself when it is due; leave it out")
    return schedule.beginning(next_run)
