"""How long callers and probes wait, in seconds and at full length."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from leaping import leap
from support import took

from endpoints.calling import BEARER, TOKEN, ask
from pseudocron import Crons, health, trigger
from pseudocron.backends.file.backend import Memory

if TYPE_CHECKING:
    from collections.abc import Collection

    from pseudocron.backends.questions import States


def crons_with(target: Any) -> Crons:
    crons = Crons(backend="memory:")
    crons.add("one", target, "every 5 hours")
    return crons


@pytest.mark.parametrize(("asked", "seconds"), [("", 25), ("?wait=100", 25), ("?wait=3", 3), ("?wait=0", 0)])
def test_a_call_waits_25_seconds_or_less_if_it_is_asked_to(asked: str, seconds: float) -> None:
    crons = crons_with(asyncio.Event().wait)

    async def main() -> None:
        with took(seconds, seconds + 0.5):
            answer = await ask(trigger(crons, token=TOKEN), path=f"/{asked}", headers=BEARER)
        assert (answer.status, answer.json["over"]) == (202, False)

    leap(main())


@pytest.mark.parametrize(("seconds", "told"), [(1.8, (200, "ok")), (3600, (503, "slow"))])
def test_a_store_has_two_seconds_to_answer_a_probe(
    seconds: float, told: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = Memory.states

    async def slow(self: Memory, names: Collection[str]) -> States:
        await asyncio.sleep(seconds)
        return await states(self, names)

    monkeypatch.setattr(Memory, "states", slow)
    app = health(crons_with(int))

    async def main() -> None:
        with took(min(seconds, 2), 2.2):
            answer = await ask(app, "GET")
        assert (answer.status, answer.json["backend"]) == told

    leap(main())
