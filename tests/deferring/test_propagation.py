"""What jobs carry besides their arguments."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudocron.backends.model import Kind, Run, State
from pseudocron.cli.jobs import _plain
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.host import utcnow
from pseudocron.jobs.propagation import MOST, attach, detach
from pseudocron.testing import FakeScheduler

words = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
arguments = st.dictionaries(st.text(max_size=5), st.integers() | st.text() | words, max_size=3)


@given(arguments, words)
def test_both_come_back_as_they_were(given_arguments: dict[str, object], context: dict[str, str]) -> None:
    text = json.dumps(given_arguments)
    stored = attach(text, context)
    assert isinstance(json.loads(stored), dict), "a store, and people, find JSON"
    rest, carried = detach(stored)
    assert (json.loads(rest), carried) == (given_arguments, context)


def test_too_much_is_left_behind() -> None:
    assert attach("{}", {"baggage": "x" * MOST}) == "{}"


@pytest.mark.parametrize(
    "stored", ['{"@pseudocron":', '{"@pseudocron":{"a"', '{"@pseudocron":3', "[]", "", '{"@pseudocron":7}']
)
def test_what_can_not_be_read_is_left_to_who_reads_the_arguments(stored: str) -> None:
    assert detach(stored)[1] == {}


def test_a_run_knows_what_its_job_carries_and_that_it_is_one() -> None:
    crons, seen = Crons(), []
    crons._hooks.propagate(lambda: {"tenant": "blue"})

    @crons.task
    def work(a: int) -> None:
        seen.append((a, current_run().is_job, dict(current_run().context)))

    with FakeScheduler(crons) as scheduler:

        async def main() -> None:
            job = await work.defer(3)
            assert [ran.outcome for ran in await scheduler.advance()] == [State.SUCCEEDED]
            assert await job.state() is State.SUCCEEDED
            known = await crons.job(job.id)
            assert known
            assert known.arguments == '{"a":3}'

        asyncio.run(main())
    assert seen == [(3, True, {"tenant": "blue"})]


def test_a_command_shows_the_arguments_without_it() -> None:
    job = Run(
        "a",
        Kind.JOB,
        "work",
        arguments=attach('{"a":3}', {"tenant": "blue"}),
        state=State.PENDING,
        due=utcnow(),
        created=utcnow(),
    )
    assert _plain(job)["arguments"] == {"a": 3}
