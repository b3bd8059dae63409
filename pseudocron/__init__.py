"""Scheduled work for any ASGI application: one line of middleware, no worker, no broker, no crontab."""

from importlib import import_module
from typing import TYPE_CHECKING

from pseudocron.dashboard import dashboard  # now: its folder has the same name, and would be found in its place

if TYPE_CHECKING:
    from pseudocron.backends.model import Run, State
    from pseudocron.context import CurrentRun, current_run
    from pseudocron.crons import Cron, Crons
    from pseudocron.endpoints.health import health
    from pseudocron.endpoints.trigger import trigger
    from pseudocron.errors import (
        ArgumentError,
        BackendAwayError,
        BackendError,
        ConfigError,
        EventLoopError,
        JobConflictError,
        NoRunError,
        PseudoCronError,
        ScheduleError,
        TargetError,
        UnknownCronError,
        UnknownTaskError,
    )
    from pseudocron.hooks import Event
    from pseudocron.jobs.bound import JobHandle
    from pseudocron.jobs.tasks import Retry, Task
    from pseudocron.middleware import PseudoCronMiddleware
    from pseudocron.report import CronStatus, cron_status
    from pseudocron.targets import Shell
else:
    _HOMES = {
        "backends.model": ("Run", "State"),
        "context": ("CurrentRun", "current_run"),
        "crons": ("Cron", "Crons"),
        "endpoints.health": ("health",),
        "endpoints.trigger": ("trigger",),
        "hooks": ("Event",),
        "jobs.bound": ("JobHandle",),
        "jobs.tasks": ("Retry", "Task"),
        "middleware": ("PseudoCronMiddleware",),
        "report": ("CronStatus", "cron_status"),
        "targets": ("Shell",),
    }

    def __getattr__(name: str) -> object:
        """Import what is asked for: a process that defers needs no middleware, and one that serves no report."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = next((home for home, names in _HOMES.items() if name in names), "errors")
        found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "ArgumentError",
    "BackendAwayError",
    "BackendError",
    "ConfigError",
    "Cron",
    "CronStatus",
    "Crons",
    "CurrentRun",
    "Event",
    "EventLoopError",
    "JobConflictError",
    "JobHandle",
    "NoRunError",
    "PseudoCronError",
    "PseudoCronMiddleware",
    "Retry",
    "Run",
    "ScheduleError",
    "Shell",
    "State",
    "TargetError",
    "Task",
    "UnknownCronError",
    "UnknownTaskError",
    "cron_status",
    "current_run",
    "dashboard",
    "health",
    "trigger",
]
