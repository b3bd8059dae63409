"""The dashboard in a real Chromium: read, used, updated, attacked."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from support import wait_until

from dashboard.house import EVIL, House
from harness.ports import free_port
from pseudocron.backends.model import Reason, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Dialog, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")

WIDE, PHONE = {"width": 1200, "height": 800}, {"width": 390, "height": 844}


def options() -> list[str]:
    return ["--no-sandbox"] if os.geteuid() == 0 else []  # as root it would not start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where it is served, for as long as these tests go on."""
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    with House.open(f"file:{folder / 'store'}") as house:
        house.run("bill", State.SUCCEEDED)
        house.run(EVIL, State.FAILED)
        house.skip("bill", Reason.NO_TRAFFIC)
        house.defer("failed")
        house.fail()
        house.defer("pending", key="<i>key</i>", arguments='{"to": "<img src=x onerror=alert(1)>"}')
    with serving(folder, port) as process:
        wait_until(lambda: answers(port) or process.poll() is not None, 20)
        yield f"http://127.0.0.1:{port}/crons"


@contextmanager
def serving(folder: Path, port: int, app: str = "dashboard.served:app") -> Iterator[subprocess.Popen[bytes]]:
    words = ["-m", "uvicorn", app, "--port", str(port), "--log-level", "warning"]
    paths = [".", *(str(Path(path).resolve()) for path in sys.path)]
    process = subprocess.Popen(
        [sys.executable, *words], cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def answers(port: int) -> bool:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/crons/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def visitor(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page; nothing may be written to its console, and nothing may pop up."""
    complaints: list[str] = []

    def dismissed(dialog: Dialog) -> None:
        complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    context = browser.new_context(**{"timezone_id": "Asia/Tokyo", "viewport": WIDE} | options)
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", dismissed)
    yield page
    context.close()
    assert not complaints


PATHS = ("/", f"/cron?name={quote(EVIL)}", "/cron?name=bill", "/jobs", "/job?id=failed")


@pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", PHONE)], ids=["light", "dark, on a phone"])
def test_every_page_can_be_read_by_everybody(browser: Browser, site: str, theme: Any, size: Any) -> None:
    from axe_core_python.base import AXE_SCRIPT

    with visitor(browser, color_scheme=theme, viewport=size) as page:
        for path in PATHS:
            page.goto(site + path)
            for details in page.locator("summary").all():
                details.click()
            page.evaluate(AXE_SCRIPT)
            found = page.evaluate("axe.run().then(said => said.violations)")
            assert not [(path, one["id"], [node["html"] for node in one["nodes"]]) for one in found]
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") is (theme == "light")


def test_a_hostile_name_traceback_or_argument_is_read_and_never_run(browser: Browser, site: str) -> None:
    with visitor(browser) as page:
        page.goto(site)
        page.get_by_role("link", name=EVIL).click()
        assert page.locator("h1").inner_text() == EVIL
        page.get_by_text("Error", exact=True).click()
        assert "<img src=x onerror=alert(1)>" in page.locator("pre").first.inner_text()
        page.goto(f"{site}/job?id=pending")
        assert "<img" in page.locator("pre").inner_text()
        assert page.locator("main img, main script, main i, main b").count() == 0


def test_even_what_were_injected_would_not_run(browser: Browser, site: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(site)
        page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "window.injected = true";
                document.body.append(script);
                document.body.insertAdjacentHTML("beforeend", "<img src='data:,' onerror='window.injected = true'>");
                return new Promise(resolve => setTimeout(resolve, 50));
            }"""
        )
        assert page.evaluate("window.injected") is None


def test_the_reader_pauses_resumes_and_runs_a_cron(browser: Browser, site: str) -> None:
    with visitor(browser) as page:
        page.goto(site)
        row = page.get_by_role("row", name="bill")
        for button, said in (
            ("Pause", "It is paused."),
            ("Resume", "It is not paused any more."),
            ("Run now", "It has been started."),
        ):
            row.get_by_role("button", name=button).click()
            assert page.locator(".said").inner_text() == said
        page.wait_for_url(f"{site}/")  # said once, and not again after a reload
        page.get_by_role("link", name="bill").click()
        page.get_by_role("button", name="Run now").click()
        assert page.locator("h1").inner_text() == "bill"


def test_the_reader_finds_retries_and_cancels_a_job(browser: Browser, site: str) -> None:
    with visitor(browser) as page:
        page.goto(f"{site}/jobs")
        page.get_by_label("State").select_option("failed")
        page.get_by_role("button", name="Find").click()
        page.get_by_role("button", name="Retry").click()
        assert page.locator(".said").inner_text() == "The job is pending again."
        page.goto(f"{site}/job?id=failed")
        page.get_by_role("button", name="Cancel").click()
        assert page.locator(".said").inner_text() == "The job is cancelled."
        assert "cancelled" in page.locator("dl").inner_text()


def test_the_page_updates_itself_unless_somebody_is_at_it(browser: Browser, site: str) -> None:
    with visitor(browser) as page, visitor(browser) as other:
        page.clock.install()
        page.goto(site)
        row = page.get_by_role("row", name=EVIL)
        row.get_by_role("button", name="Pause").focus()
        for button, shown, somebody in (
            ("Pause", "Pause", True),
            ("Resume", "Pause", False),
            ("Pause", "Resume", False),
        ):
            other.goto(site)
            other.get_by_role("row", name=EVIL).get_by_role("button", name=button).click()
            if not somebody:
                page.locator("main").focus()
            page.evaluate("document.getElementById('zone').dataset.before = ''")
            page.clock.run_for(5000)
            page.locator("#zone:not([data-before])").wait_for()  # the last part of the page: it has updated itself
            row.get_by_role("button", name=shown).wait_for()
        page.get_by_role("button", name="Live updates").click()
        assert page.locator("#updates").get_attribute("aria-pressed") == "false"


def test_without_javascript_all_can_be_read_and_done_in_utc(browser: Browser, site: str) -> None:
    with visitor(browser, java_script_enabled=False) as page:
        page.goto(site)
        assert "Times are in UTC" in page.locator("footer").inner_text()
        assert not page.locator("#updates").is_visible()
        page.get_by_role("row", name="bill").get_by_role("button", name="Pause").click()
        assert page.locator(".said").inner_text() == "It is paused."
        page.get_by_role("row", name="bill").get_by_role("button", name="Resume").click()


def test_times_are_told_in_the_zone_of_the_reader(browser: Browser, site: str) -> None:
    with visitor(browser) as page:
        page.goto(site)
        page.locator("#zone", has_text="Asia/Tokyo").wait_for()
        page.goto(f"{site}/jobs")
        assert "+09:00" in str(page.locator("td time").first.get_attribute("title"))


def test_a_form_of_another_site_is_refused_though_it_has_the_token(browser: Browser, site: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(site)
        token = page.locator("[name=csrf]").first.input_value()
        page.goto(f"{site.replace('127.0.0.1', 'localhost').removesuffix('/crons')}/evil?token={token}")
        with page.expect_navigation() as answer:
            page.get_by_role("button", name="Claim").click()
        assert answer.value.status == 403
        page.goto(site)
        assert page.get_by_role("row", name="bill").get_by_role("button", name="Pause").is_visible()


def test_no_other_page_may_frame_it(browser: Browser, site: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{site.removesuffix('/crons')}/evil?token=x")
        page.evaluate(f"document.body.innerHTML = '<iframe src=\"{site}/\"></iframe>'")
        page.wait_for_function("frames.length === 1")
        page.frames[1].wait_for_load_state()
        assert page.frames[1].url.startswith("chrome-error:")


def test_a_browser_asks_for_the_password_and_keeps_it(browser: Browser, site: str) -> None:
    with visitor(browser, http_credentials={"username": "ann", "password": "geheim"}) as page:
        page.goto(site.replace("/crons", "/locked/"))
        page.locator("#zone", has_text="Asia/Tokyo").wait_for()  # the script, and what it fetched
        page.get_by_role("row", name="bill").get_by_role("button", name="Run now").click()
        page.locator(".said").wait_for()
