"""A span for each run, by `opentelemetry-api`; that of a job is linked to the trace in which it was deferred."""

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
    """Let each attempt of a run or job be a span, the first of a trace of its own.

    It is the current span of what runs on the event loop or in a thread; about a child process it is in the parent.
    A deferred job carries the trace context of who deferred it (W3C's `traceparent`).

    Args:
        crons: Whose runs are traced.
        tracer_provider: Where the spans go; the global one if None.
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
    crons._hooks.propagate(_carried)


def _carried() -> Mapping[str, str]:
    """The trace that goes on here, as a job takes it with it."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier


def _links(carrier: Mapping[str, str]) -> list[Link]:
    context = trace.get_current_span(_w3c.extract(carrier, Context())).get_span_context()
    return [Link(context)] if context.is_valid else []
