"""Spans of runs, with `opentelemetry-api`; the span of a job is linked to the trace in which it was deferred."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pseudocron.context import current_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.trace import TracerProvider

    from pseudocron.crons import Crons

_w3c = TraceContextTextMapPropagator()


def instrument(crons: Crons, *, tracer_provider: TracerProvider | None = None) -> None:
    """Make a span for each attempt of a run or job, the root of its own trace.

    The span is the current one on the event loop or in the thread of the run; the span of a child process is in the
    parent. A deferred job is stored with the trace context of its caller (W3C's `traceparent`).

    Args:
        crons: The crons and tasks to trace.
        tracer_provider: Receives the spans; the global one if None.
    """
    tracer = trace.get_tracer("pseudocron", tracer_provider=tracer_provider)

    @contextmanager
    def span() -> Iterator[None]:
        run = current_run()
        attributes = {
            "pseudocron.kind": "job" if run.is_job else "cron",
            "pseudocron.name": run.name,
            "pseudocron.run_id": run.run_id,
            "pseudocron.slot": run.slot.isoformat(),
            "pseudocron.attempt": run.attempt,
            "pseudocron.fence": run.fence,
        }
        kind = SpanKind.CONSUMER if run.is_job else SpanKind.INTERNAL
        with tracer.start_as_current_span(
            run.name, context=Context(), kind=kind, attributes=attributes, links=_links(run.context)
        ):
            yield

    crons._hooks.middleware(span, children=True)
    crons._hooks.propagate(_trace_context)


def _trace_context() -> Mapping[str, str]:
    """Return the trace context of the caller of `defer`."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier


def _links(carrier: Mapping[str, str]) -> list[Link]:
    context = trace.get_current_span(_w3c.extract(carrier, Context())).get_span_context()
    return [Link(context)] if context.is_valid else []
