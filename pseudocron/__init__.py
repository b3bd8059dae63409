"""Scheduled work for any ASGI application: one line of middleware, no worker, no broker, no crontab."""

from pseudocron.backends.jobs import Job, JobState
from pseudocron.context import CurrentRun, current_run
from pseudocron.crons import Cron, Crons
from pseudocron.dashboard import dashboard
from pseudocron.doors.health import health
from pseudocron.doors.trigger import trigger
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
from pseudocron.jobs.later import JobHandle
from pseudocron.jobs.tasks import Retry, Task
from pseudocron.middleware import PseudoCronMiddleware
from pseudocron.report import CronStatus, cron_status

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
    "Job",
    "JobConflictError",
    "JobHandle",
    "JobState",
    "NoRunError",
    "PseudoCronError",
    "PseudoCronMiddleware",
    "Retry",
    "ScheduleError",
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
