"""Scheduled work for any ASGI application: one line of middleware, no worker, no broker, no crontab."""

from pseudocron.context import CurrentRun, current_run
from pseudocron.crons import Cron, Crons
from pseudocron.errors import (
    BackendError,
    ConfigError,
    NoRunError,
    PseudoCronError,
    ScheduleError,
    TargetError,
    UnknownCronError,
)
from pseudocron.middleware import PseudoCronMiddleware
from pseudocron.report import CronStatus, cron_status

__all__ = [
    "BackendError",
    "ConfigError",
    "Cron",
    "CronStatus",
    "Crons",
    "CurrentRun",
    "NoRunError",
    "PseudoCronError",
    "PseudoCronMiddleware",
    "ScheduleError",
    "TargetError",
    "UnknownCronError",
    "cron_status",
    "current_run",
]
