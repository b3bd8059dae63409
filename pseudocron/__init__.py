"""Scheduled work for any ASGI application: one line of middleware, no worker, no broker, no crontab."""

from importlib import import_module
from typing import TYPE_CHECKING

from pseudocron.backends.model import Run, State
from pseudocron.context import CurrentRun, current_run
from pseudocron.crons import Cron, Crons
from pseudocron.dashboard import dashboard
from pseudocron.errors import (
    ArgumentError,
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

if TYPE_CHECKING:
    from pseudocron.endpoints.health import health
    from pseudocron.endpoints.trigger import trigger
    from pseudocron.report import CronStatus, cron_status
else:
    LAZY = {
        "CronStatus": "report",
        "cron_status": "report",
        "health": "endpoints.health",
        "trigger": "endpoints.trigger",
    }

    def __getattr__(name: str) -> object:
        """Import what the middleware alone does not need, at its first use."""
        if name not in LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{LAZY[name]}"), name)


__all__ = [
    "ArgumentError",
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
