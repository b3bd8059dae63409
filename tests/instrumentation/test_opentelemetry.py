"""Spans, as an exporter gets them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from redis_server import shared
from worker.world import World

from pseudocron.by_hand import tick_now
from pseudocron.crons import Crons
from pseudocron.instrumentation import opentelemetry
from pseudocron.process import Process

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan


class Traced:
    """Crons whose runs are traced."""

    def __init__(self, backend: str = "memory:") -> None:
        self.crons = Crons(backend=backend, app=uuid4().hex)
        self.provider = TracerProvider()
        self.exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("application")
        opentelemetry.instrument(self.crons, tracer_provider=self.provider)

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.mark.parametrize("many", [1, 30])
@pytest.mark.parametrize("store", ["memory", "file", "redis"])
def test_a_job_is_a_span_that_is_linked_to_the_request_that_deferred_it(store: str, many: int, tmp_path: Path) -> None:
    backend = {"memory": "memory:", "file": f"file:{tmp_path}/store", "redis": shared().url}[store]
    traced, seen = Traced(backend), []

    @traced.crons.task
    async def greet(who: str, *, loud: bool = False) -> None:
        seen.append((who, loud))
        with traced.tracer.start_as_current_span("inner"):
            pass

    async def main() -> None:
        with traced.tracer.start_as_current_span("request"):
            await greet.defer_many([{"who": "B-204", "loud": True}] * many)
        seen = Process(traced.crons)
        async for _ in tick_now(seen):
            pass
        await seen.runtime().close()

    asyncio.run(main())
    spans = traced.spans()
    assert seen == [("B-204", True)] * many
    (link,) = spans["greet"].links
    assert link.context.span_id == spans["request"].context.span_id
    assert link.context.trace_id == spans["request"].context.trace_id != spans["greet"].context.trace_id
    assert spans["greet"].parent is None
    assert spans["inner"].parent is not None
    assert spans["inner"].parent.trace_id == spans["greet"].context.trace_id
    assert spans["greet"].kind is SpanKind.CONSUMER
    assert (spans["greet"].attributes or {})["pseudocron.kind"] == "job"


def test_a_failed_run_is_a_span_with_its_error() -> None:
    traced = Traced()

    @traced.crons.every(60)
    def in_thread() -> None:
        assert trace.get_current_span().get_span_context().is_valid
        raise ValueError("oh no")

    @traced.crons.every(60)
    async def on_loop() -> None:
        raise ValueError("oh no")

    world = World(traced.crons)
    with traced.tracer.start_as_current_span("visitor"):
        asyncio.run(world.poll_all())
    spans = traced.spans()
    assert spans.pop("visitor").status.status_code is StatusCode.UNSET
    for span in spans.values():
        assert span.parent is None, "a visitor's trace has nothing to do with it"
        assert span.status.status_code is StatusCode.ERROR
        assert span.events[0].name == "exception"
        assert not span.links
    assert set(spans) == {"in_thread", "on_loop"}


def test_a_child_process_is_a_span_of_its_parent(tmp_path: Path) -> None:
    traced = Traced()
    for name, code in (("fine", "pass"), ("broken", "raise SystemExit('oh no')")):
        (tmp_path / f"{name}.py").write_text(code)
        traced.crons.add(name, tmp_path / f"{name}.py", 60)
    asyncio.run(World(traced.crons).poll_all())
    spans = traced.spans()
    assert spans["fine"].status.status_code is StatusCode.UNSET
    assert spans["broken"].status.status_code is StatusCode.ERROR
    assert "oh no" in (spans["broken"].status.description or "")


def test_what_was_deferred_outside_of_a_trace_carries_nothing() -> None:
    traced = Traced()

    @traced.crons.task
    def work() -> None:
        pass

    async def main() -> str:
        job = await work.defer()
        stored = await traced.crons.job(job.id)
        assert stored is not None
        return stored.arguments or ""

    assert asyncio.run(main()) == "{}"
