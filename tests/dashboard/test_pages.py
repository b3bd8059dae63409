"""What the pages show."""

from __future__ import annotations

import re
from datetime import timedelta
from html import escape, unescape
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from support import wait_until

from dashboard.house import EVIL, TRACEBACK, House, crons_of
from pseudocron.backends.model import Reason, State
from pseudocron.backends.questions import End
from pseudocron.by_hand import tick_now
from pseudocron.config.source import FileSource
from pseudocron.crons import Crons
from pseudocron.host import utcnow
from pseudocron.jobs.propagation import attach

if TYPE_CHECKING:
    from pathlib import Path

    from pseudocron.backends.contract import Backend


def text(html: str) -> str:
    """What is to be read, without tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_the_first_page_shows_each_cron_and_how_it_is_doing(each_house: House) -> None:
    each_house.run("bill", State.SUCCEEDED)
    each_house.run("bill", State.FAILED)
    each_house.skip("bill", Reason.MISFIRE)
    each_house.defer("a", "b")
    page = each_house.get()
    assert "bill every hour" in text(page)
    assert "at 02:00 every day (Asia/Shanghai)" in text(page)
    assert 'aria-label="Last runs: 1 succeeded, 1 failed, 1 skipped; the longest' in page
    assert "2 pending" in text(page)
    assert "last skip" in text(page)
    assert "a look is due" in text(page)


def test_the_health_line_names_the_store_without_its_password(each_house: House) -> None:
    assert str(each_house.crons.settings.backend) in each_house.get()


def test_the_health_line_names_a_folder_by_its_absolute_path(tmp_path: Path) -> None:
    with House.at(Crons(backend="file:store", app="shop", folder=tmp_path)) as house:
        assert f"file:{tmp_path}/store/shop" in house.get()
    with House.open("redis://:geheim@127.0.0.1:1/0") as house:
        page = house.get(status=503)
    assert "geheim" not in page
    assert "127.0.0.1:1" in page


def is_green(page: str) -> bool:
    (colour,) = re.findall(r'<p id="health" data-live class="health (\w+)"', page)
    return bool(colour == "good")


def test_the_health_line_is_not_green_while_something_fails(each_house: House) -> None:
    each_house.run("bill", State.SUCCEEDED)
    assert is_green(each_house.get())
    each_house.run("bill", State.TIMED_OUT)
    each_house.run("bill", State.FAILED)
    for page in (each_house.get(), each_house.get("/jobs"), each_house.get("/cron", name="bill")):
        assert not is_green(page)
        assert "bill: its last 2 runs did not succeed, the latest failed" in text(page)
    each_house.run("bill", State.SUCCEEDED)
    assert is_green(each_house.get())


def test_the_health_line_tells_the_newest_poll(each_house: House) -> None:
    assert "last poll" not in text(each_house.get())
    each_house.skip("bill", Reason.MISFIRE)
    assert re.search(r"last poll \d s ago", text(each_house.get()))


def test_the_health_line_tells_overdue_crons_and_held_places(each_house: House) -> None:
    each_house.do(lambda backend: backend.reset("bill", utcnow() - timedelta(days=3)))
    each_house.run("bill", State.SUCCEEDED, goes_on=True)
    page = each_house.get()
    assert not is_green(page)
    assert "host:1: runs that have ended while their code goes on: 1 (bill)" in text(page)
    each_house.do(lambda backend: backend.reset(EVIL, utcnow() - timedelta(days=3)))
    assert f"{EVIL}: overdue by" in unescape(text(each_house.get()))


def test_the_page_of_a_cron_shows_runs_errors_and_skips(each_house: House) -> None:
    each_house.run(EVIL, State.FAILED)
    each_house.skip(EVIL, Reason.NO_TRAFFIC)
    page = each_house.get("/cron", name=EVIL)
    assert escape(TRACEBACK) in page.replace("&#34;", "&quot;")
    assert "&lt;b&gt;a line&lt;/b&gt;" in page
    assert "nobody came by" in page
    assert "host:1" in page
    assert 'aria-label="Duration of the last 1 runs' in page


def test_nothing_of_a_hostile_name_error_or_argument_is_markup(house: House) -> None:
    house.run(EVIL, State.FAILED)
    house.defer("a", key="<i>key", arguments='{"to": "<i>ann"}')
    pages = [house.get(), house.get("/cron", name=EVIL), house.get("/jobs"), house.get("/job", id="a")]
    pages += [house.get("/cron", name="<i>no", status=404), house.get("/jobs", key="<i>", task="<i>")]
    assert not [page for page in pages if re.search(r"<(i|b|img|script(?! src=\"/crons/static/))[^a-z]", page)]
    assert not [page for page in pages if re.search(r"\son\w+=|style=", re.sub(r">[^<]*<", "><", page))]


def test_a_run_that_is_retried_is_shown_with_when(each_house: House) -> None:
    each_house.retry()
    assert "pending" in text(each_house.get())
    assert "retries at" in text(each_house.get())
    page = text(each_house.get("/cron", name="bill"))
    assert "retries at" in page
    assert "failed, and runs again at" in page


def test_a_cron_that_has_left_the_configuration_still_has_its_history(house: House) -> None:
    house.run("gone", State.FAILED)
    assert "has left the configuration" in house.get("/cron", name="gone")
    assert "There is no such cron" in house.get("/cron", name="bil", status=404)


def test_many_crons_come_page_by_page_and_are_found_by_name(tmp_path: Path) -> None:
    crons = crons_of(f"file:{tmp_path / 'store'}")
    for number in range(120):
        crons.add(f"cron {number}", lambda: None, "every hour")
    with House.at(crons) as house:
        pages = [house.get("/", page=str(page)) for page in (1, 2, 3)]
        names = [re.findall(r'<th scope="row"><a[^>]*>([^<]*)', page) for page in pages]
        assert [len(some) for some in names] == [50, 50, 22]
        assert len({name for some in names for name in some}) == 122
        assert "Page 2 of 3, 122 crons" in pages[1]
        assert "There are no crons on this page" in house.get("/", page="9")
        assert re.findall(r'<th scope="row"><a[^>]*>([^<]*)', house.get("/", q="CRON 11")) == [
            "cron 11",
            *(f"cron {number}" for number in range(110, 120)),
        ]


def test_jobs_come_newest_first_page_by_page(each_house: House) -> None:
    ids = [f"j{number:03}" for number in range(120)]
    each_house.defer(*ids)
    seen: list[str] = []
    page = each_house.get("/jobs")
    while True:
        seen += re.findall(r"/crons/job\?id=(\w+)", page)
        older = re.search(r'rel="next" href="/crons([^"]*)"', page)
        if not older:
            break
        page = each_house.get(older[1].replace("&amp;", "&"))
    assert seen == ids[::-1]


def test_jobs_are_found_by_state_task_and_key(each_house: House) -> None:
    each_house.defer("failed")
    each_house.fail()
    each_house.defer("keyed", key="k")
    found = {
        "state=failed": ["failed"],
        "state=pending": ["keyed"],
        "key=k": ["keyed"],
        "task=mail": ["keyed", "failed"],
        "task=mail&key=no": [],
        "": ["keyed", "failed"],
    }
    for query, ids in found.items():
        assert re.findall(r"/crons/job\?id=(\w+)", each_house.get(f"/jobs?{query}")) == ids, query


def test_the_page_of_a_job_shows_all_that_is_known_of_it(each_house: House) -> None:
    each_house.defer("a", key="k")
    each_house.fail()
    page = each_house.get("/job", id="a")
    assert "&#34;to&#34;: &#34;ann&#34;" in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "State failed" in text(page)
    assert "host:2" in page


def test_what_a_job_carries_is_not_among_its_arguments(house: House) -> None:
    house.defer("a", arguments=attach('{"to": "ann"}', {"traceparent": "00-4bf9-00f0-01"}))
    for page in (house.get("/jobs"), house.get("/job", id="a")):
        shown = text(page)
        assert "ann" in shown
        assert "traceparent" not in shown


def test_arguments_can_be_hidden(tmp_path: Path) -> None:
    with House.at(crons_of(f"file:{tmp_path / 'store'}"), hide_arguments=True) as house:
        house.defer("a", arguments='{"to": "secret"}')
        assert "secret" not in house.get("/jobs") + house.get("/job", id="a")


def test_hidden_arguments_are_in_no_error_of_their_jobs(tmp_path: Path) -> None:
    crons = Crons(backend=f"file:{tmp_path / 'store'}")

    @crons.task(retries=0)
    async def mail(to: str, copies: int = 1) -> None:
        raise ValueError(f"no such address, x{copies}:\n{to}")

    with House.at(crons, hide_arguments=True) as house:
        house.defer("raises", arguments='{"to": "secret"}')
        house.defer("unfit", arguments='{"to": "a", "copies": "secret"}')
        assert house.client.portal
        house.client.portal.call(tick, house)
        for job_id in ("raises", "unfit"):
            assert "secret" in (house.job(job_id).error or ""), "it is in the store"
            assert "secret" not in house.get("/jobs") + house.get("/job", id=job_id)
            assert f"<code>pseudocron jobs show {job_id}</code> shows it" in house.get("/job", id=job_id)


def test_hidden_arguments_are_in_no_error_of_an_earlier_attempt(tmp_path: Path) -> None:
    async def fail(backend: Backend) -> None:
        for _ in range(2):
            claims = await house._poll(backend)
            await backend.finish([End(claim, State.FAILED, utcnow(), error="ValueError: secret") for claim in claims])

    for hidden in (True, False):
        with House.at(crons_of(f"file:{tmp_path / str(hidden)}"), hide_arguments=hidden) as house:
            house.defer("a")
            house.do(fail)
            assert {attempt.error for attempt in house.job("a").earlier} == {"ValueError: secret"}
            assert ("secret" in house.get("/job", id="a")) is not hidden


async def tick(house: House) -> None:
    async for _ in tick_now(house.process):
        pass


def test_times_are_those_of_the_readers_zone_and_utc_for_all_others(house: House) -> None:
    house.defer("a")
    for cookie, zone in {
        "Asia/Tokyo": "Asia/Tokyo",
        "../../etc/passwd": "UTC",
        "Mars/Base": "UTC",
        "A" * 3000: "UTC",
        "localtime": "UTC",
    }.items():
        house.client.cookies.set("pseudocron_zone", cookie)
        page = house.get("/job", id="a")
        assert f"Times are in {zone}" in page
        assert ("+09:00" in page) is (zone == "Asia/Tokyo")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/?page=0", "page: must be a whole number from 1"),
        ("/?page=-1", "page: must be"),
        ("/?page=1e9", "page: must be"),
        ("/?page=9999999999", "page: must be"),
        ("/?page=%D9%A1", "page: must be"),
        ("/jobs?state=lazy", "state: must be one of pending, running"),
        (f"/jobs?key={'k' * 301}", "key: is longer than 300 characters"),
        ("/?q=" + "q" * 301, "q: is longer"),
    ],
)
def test_what_is_malformed_is_said(house: House, path: str, words: str) -> None:
    assert words in house.get(path, 400)


@pytest.mark.parametrize(
    "path", ["/nothing", "/job?id=no", "/job", "/cron", "/cron?name=no", "/static/no.css", "/static/../app.py"]
)
def test_what_is_not_there_is_a_404(house: House, path: str) -> None:
    house.get(path, 404)


def test_a_page_before_a_job_that_is_forgotten_is_empty(each_house: House) -> None:
    each_house.defer("a")
    assert "There are no such jobs before that one" in each_house.get("/jobs", before="forgotten")


@pytest.mark.parametrize("path", ["", "/ops/crons", "/a b"])
def test_every_link_leads_back_into_the_dashboard_wherever_it_is_mounted(house: House, path: str) -> None:
    with House.at(house.crons, path=path) as other:
        at = quote(path)
        page = other.client.get(f"{at}/").text
        links = set(re.findall(r'(?:href|src|action)="([^"#]+)"', page))
        assert len(links) > 5
        links.discard(f"{at}/cron")  # where its forms go
        dead = [link for link in links if other.client.get(link.replace("&amp;", "&")).status_code != 200]
        assert not dead


def test_a_store_that_is_away_is_said_in_a_page_and_comes_back(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o700)
    database = tmp_path / "store" / "crons.db"
    database.mkdir()
    with House.at(crons_of(f"file:{tmp_path / 'store'}")) as house:
        for path in ("/", "/cron?name=bill", "/jobs", "/job?id=a"):
            page = house.get(path, 503)
            assert "The crons can&#39;t be shown now" in page
            assert "Traceback" not in page
        database.rmdir()
        house.get()


def test_a_configuration_that_was_never_right_is_said_in_a_page(tmp_path: Path) -> None:
    path = tmp_path / "crons.py"
    path.write_text("crons = {'bill': ('no.such:thing', 60)}")
    with House.at(path) as house:
        assert "no.such" in house.get(status=503)


def test_a_bad_edit_is_said_above_the_crons_that_stay(tmp_path: Path) -> None:
    path = tmp_path / "crons.py"
    path.write_text("crons = {'bill': ('os:getpid', 60)}")
    with House.at(path) as house:
        assert "bill" in house.get()
        path.write_text("crons = {'bill': ('os:getpid', 60, 0, 0, 'what')}")
        wait_until(lambda: "the last good one stays" in house.get(), 2)
        assert "every minute" in house.get()
        assert isinstance(house.process.source, FileSource)


def test_every_state_of_a_job_can_be_asked_for(house: House) -> None:
    page = house.get("/jobs")
    assert all(f"<option>{state}</option>" in page for state in State)
