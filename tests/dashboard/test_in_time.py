"""How long a page waits for the store, in seconds and at full length."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from endpoints.calling import ask
from leaping import leap
from support import took

from dashboard.house import crons_of
from pseudocron.backends.file.backend import Memory
from pseudocron.dashboard import NoAuth, dashboard

if TYPE_CHECKING:
    from collections.abc import Collection

    from pseudocron.backends.questions import States


@pytest.mark.parametrize(("seconds", "status"), [(9, 200), (3600, 503)])
def test_a_page_waits_ten_seconds_for_the_store(seconds: float, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    states = Memory.states

    async def slow(self: Memory, names: Collection[str]) -> States:
        await asyncio.sleep(seconds)
        return await states(self, names)

    monkeypatch.setattr(Memory, "states", slow)
    app = dashboard(crons_of("memory:"), auth=NoAuth(hosts=["shop.test"]))

    async def main() -> None:
        with took(min(seconds, 10), 10.5):
            assert (await ask(app, "GET", headers={"host": "shop.test"})).status == status

    leap(main())
