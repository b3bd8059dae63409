"""Metrics for Prometheus, by `prometheus-client`; right in one process and, by its own means, in several."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from pseudocron.hooks import EventKind

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from pseudocron.crons import Crons
    from pseudocron.hooks import Event

_DURATIONS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1000, 3600)
_LATENESSES = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400)
"""Seconds: the upper ends of the buckets."""


class _Metrics(NamedTuple):
    runs: Counter
    duration: Histogram
    lateness: Histogram
    success: Gauge
    pending: Gauge
    oldest: Gauge
    polls: Counter


_made: WeakKeyDictionary[CollectorRegistry, _Metrics] = WeakKeyDictionary()  # a registry takes each name only once


def instrument(crons: Crons, *, registry: CollectorRegistry = REGISTRY) -> None:
    """Register metrics of these crons and tasks.

    With `PROMETHEUS_MULTIPROC_DIR` in the environment each process writes its part there, and the process that is
    scraped adds them up, as `prometheus_client.multiprocess` does.

    Args:
        crons: The crons and tasks to count.
        registry: Where the metrics are registered; several `Crons` may share one.
    """
    metrics = _made.get(registry)
    if metrics is None:
        metrics = _made[registry] = _make(registry)
    recorder = _Recorder(metrics)
    for kind in (EventKind.SUCCEEDED, EventKind.FAILED, EventKind.RETRYING, EventKind.SKIPPED, EventKind.LOST):
        crons._hooks.on(kind, recorder.count, inline=True)
    crons._hooks.on_poll(recorder.poll)
    crons._hooks.on_count(recorder.waiting)


def _make(registry: CollectorRegistry) -> _Metrics:
    labels = ("kind", "name")
    return _Metrics(
        runs=Counter(
            "pseudocron_runs",
            "Runs of crons and attempts of jobs that have ended, and slots that were skipped",
            (*labels, "outcome"),
            registry=registry,
        ),
        duration=Histogram(
            "pseudocron_run_duration_seconds",
            "How long runs and attempts took",
            labels,
            registry=registry,
            buckets=_DURATIONS,
        ),
        lateness=Histogram(
            "pseudocron_run_lateness_seconds",
            "How long after their slot, or after they were due, they started",
            labels,
            registry=registry,
            buckets=_LATENESSES,
        ),
        success=Gauge(
            "pseudocron_last_success_timestamp_seconds",
            "When the last run that succeeded was started",
            labels,
            registry=registry,
            multiprocess_mode="max",
        ),
        pending=Gauge(
            "pseudocron_jobs_pending",
            "Pending jobs, due or not, at the last poll of a process",
            registry=registry,
            multiprocess_mode="mostrecent",
        ),
        oldest=Gauge(
            "pseudocron_jobs_oldest_age_seconds",
            "How long the next job to start had been due at the last poll of a process",
            registry=registry,
            multiprocess_mode="mostrecent",
        ),
        polls=Counter(
            "pseudocron_polls",
            "Results of polls: whether something is due",
            ("result",),
            registry=registry,
        ),
    )


def _outcome(event: Event) -> str:
    return str(event.kind if event.kind is EventKind.SKIPPED else event.outcome)


class _Recorder:
    """Writes events into the metrics."""

    def __init__(self, metrics: _Metrics) -> None:
        self._metrics = metrics

    def count(self, event: Event) -> None:
        """Count a run, an attempt or skipped slots that are over."""
        kind = "job" if event.is_job else "cron"
        ended_here = event.duration is not None
        if ended_here or event.kind in {EventKind.SKIPPED, EventKind.LOST}:
            self._metrics.runs.labels(kind, event.name, _outcome(event)).inc(event.slots)
        if event.duration is not None:
            self._metrics.duration.labels(kind, event.name).observe(event.duration)
        if ended_here and event.lateness is not None:
            self._metrics.lateness.labels(kind, event.name).observe(max(0.0, event.lateness))
        if event.kind is EventKind.SUCCEEDED and event.started is not None:
            self._metrics.success.labels(kind, event.name).set(event.started.timestamp())

    def poll(self, result: str) -> None:
        """Count the result of a poll."""
        self._metrics.polls.labels(result).inc()

    def waiting(self, pending: int, oldest: float) -> None:
        """Set the number of pending jobs, and the seconds for which the next one has been due."""
        self._metrics.pending.set(pending)
        self._metrics.oldest.set(oldest)
