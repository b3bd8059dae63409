"""Draws the picture of the dashboard that the README shows: python -m dashboard.picture FILE"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright
from support import wait_until

from dashboard.test_browser import CHROMIUM, answers, options, serving
from harness.ports import free_port
from pseudocron.backends.file.backend import File
from pseudocron.backends.model import Reason, Skip, State
from pseudocron.backends.questions import Capacity, End, NewJob, Plan, Poll, Take
from pseudocron.crons import Crons
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

APP = """
from starlette.applications import Starlette
from starlette.routing import Mount
from dashboard.picture import shop
from pseudocron.dashboard import NoAuth, dashboard

app = Starlette(routes=[Mount("/crons", dashboard(shop, auth=NoAuth()))])
"""


async def work() -> None:
    """What runs is not drawn."""


shop = Crons(backend="file:store")
shop.add("reminders", work, "every 5 minutes")
shop.add("interest", work, "0 2 * * *", tz="Asia/Shanghai")
shop.add("digest", work, "every weekday at 07:00", tz="Europe/Berlin")
shop.add("thumbnails", work, "every 90 seconds")
shop.task("mail")(work)

FAILS = {"digest": (3, 4), "thumbnails": (11,)}
LASTS = {"reminders": 1.2, "interest": 40.0, "digest": 6.0, "thumbnails": 18.0}


async def fill(folder: Path) -> None:
    """The last runs of each cron, by a clock that goes as they went."""
    clock, chance = [datetime.now(UTC)], Random(7)
    store = File(folder / "store", host=Host(now=lambda: clock[0]))
    await store.open()
    for cron in shop:
        slots = _last(cron.schedule.back(datetime.now(UTC)), 19)
        take, mark = Take({}, {cron.name: 1}, Capacity(1, 1, 0), worker="web-1:812", lease=600), None
        for number, slot in enumerate(slots):
            clock[0] = slot + timedelta(seconds=chance.expovariate(2))
            is_skipped = cron.name == "reminders" and number == 8
            skips = [Skip(cron.name, slot, Reason.OVERLAP)] if is_skipped else []
            following = cron.schedule.next(slot)
            plan = Plan(cron.name, mark, slots[0] - timedelta(1), [] if is_skipped else [slot], skips, following)
            polled = await store.poll(Poll(take, [plan], force=True))
            assert polled
            mark = slot
            clock[0] += timedelta(seconds=LASTS[cron.name] * chance.uniform(0.5, 1.6))
            outcome = State.FAILED if number in FAILS.get(cron.name, ()) else State.SUCCEEDED
            await store.finish([End(claim, outcome) for claim in polled.claims])
    clock[0] = datetime.now(UTC)
    jobs = [NewJob(f"j{n}", "mail", "{}", due=clock[0] + timedelta(hours=1)) for n in range(38)]
    await store.defer(jobs)
    await store.poll(Poll(Take({}, {}, Capacity(0, 0, 0), worker="web-1:812", lease=600), force=True))
    await store.close()


def _last(slots: Iterator[datetime], count: int) -> Sequence[datetime]:
    return list(islice(slots, count))[::-1]


def draw(file: Path) -> None:
    """One screenshot, at a size that a README shows."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "picture_app.py").write_text(APP, encoding="utf-8")
        asyncio.run(fill(folder))
        with serving(folder, port, "picture_app:app"), sync_playwright() as playwright:
            wait_until(lambda: answers(port), 20)
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options())
            page = browser.new_page(viewport={"width": 1080, "height": 520})
            page.goto(f"http://127.0.0.1:{port}/crons/")
            page.wait_for_timeout(500)
            page.screenshot(path=file)
            browser.close()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
