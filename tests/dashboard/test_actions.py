"""What a reader may do, and that nobody makes him do it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from support import wait_until

from dashboard.house import House, crons_of
from pseudocron.backends.model import State
from pseudocron.crons import Crons
from pseudocron.dashboard import NoAuth, dashboard
from pseudocron.errors import ConfigError
from pseudocron.report import history_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import Message

    from pseudocron.backends.model import CronState
    from pseudocron.report import HistoryLine


def state(house: House, name: str = "bill") -> CronState:
    return house.do(lambda backend: backend.states([name])).crons[name]


def last(house: House, name: str = "bill") -> HistoryLine:
    return house.do(lambda backend: history_of(backend, name, limit=1))[0]


def test_a_cron_is_run_now_behind_the_page(each_house: House) -> None:
    assert each_house.act("/cron", name="bill", do="run") == "It has been started."
    wait_until(lambda: state(each_house).claims == 1, 2)
    wait_until(lambda: last(each_house).outcome, 2)


def test_the_page_does_not_wait_for_the_run(tmp_path: Path) -> None:
    crons, end = Crons(backend=f"file:{tmp_path / 'store'}"), threading.Event()

    @crons.every(hours=1)
    def slow() -> None:
        end.wait(30)

    with House.at(crons) as house:
        assert house.act("/cron", name="slow", do="run") == "It has been started."
        assert "running" in house.get()
        assert "is running already" in house.act("/cron", name="slow", do="run")
        end.set()
        wait_until(lambda: last(house, "slow").outcome, 2)


def test_a_cron_is_paused_and_resumed(each_house: House) -> None:
    assert each_house.act("/cron", name="bill", do="pause") == "It is paused."
    assert state(each_house).paused
    assert 'value="resume"' in each_house.get()
    assert each_house.act("/cron", name="bill", do="resume") == "It is not paused any more."
    assert not state(each_house).paused


def test_a_failed_job_is_tried_again_and_no_other(each_house: House) -> None:
    each_house.defer("a")
    assert "only a failed job can be" in each_house.act("/job", id="a", do="retry")
    each_house.fail()
    assert each_house.act("/job", id="a", do="retry") == "The job is pending again."
    assert each_house.job("a").state is State.PENDING


def test_a_job_that_timed_out_is_tried_again(each_house: House) -> None:
    each_house.defer("a")
    each_house.fail(State.TIMED_OUT)
    assert 'value="retry"' in each_house.get("/job", id="a")
    assert each_house.act("/job", id="a", do="retry") == "The job is pending again."


def test_a_job_is_cancelled_as_long_as_it_is_not_over(each_house: House) -> None:
    each_house.defer("a", "b")
    assert each_house.act("/job", id="a", do="cancel") == "The job is cancelled."
    assert each_house.job("a").state is State.CANCELLED
    each_house.claim()
    assert "it goes on, but is not tried again" in each_house.act("/job", id="b", do="cancel")
    assert "the job is over" in each_house.act("/job", id="a", do="cancel")


@pytest.mark.parametrize("back", ["/jobs?state=failed&task=a%20b", "/cron?name=%3Cb%3E", "/?q=x&page=2", "/"])
def test_an_action_leads_back_to_the_page_on_which_it_was_asked_for(house: House, back: str) -> None:
    response = house.post("/cron", csrf=house.token(), name="bill", do="pause", back=back)
    assert response.headers["location"] == f"/crons{back}{'&' if '?' in back else '?'}said=paused"


@pytest.mark.parametrize("back", ["//evil.test", "https://evil.test", "/\\evil.test", "/x", "/?a\r\nb: c", ""])
def test_an_action_leads_nowhere_else(house: House, back: str) -> None:
    response = house.post("/cron", csrf=house.token(), name="bill", do="pause", back=back)
    assert response.headers["location"] == "/crons/?said=paused"
    assert urlsplit(response.headers["location"]).netloc == ""


def test_what_a_page_says_is_never_taken_from_its_address(house: House) -> None:
    assert 'class="said"' not in house.get("/", said="Send me your password")


@pytest.mark.parametrize(
    ("path", "form", "status", "words"),
    [
        ("/cron", {"name": "gone", "do": "run"}, 404, "no cron"),
        ("/cron", {"name": "gone", "do": "pause"}, 404, "no cron"),
        ("/cron", {"name": "gone", "do": "resume"}, 404, "no cron"),
        ("/job", {"id": "gone", "do": "retry"}, 404, "no such job"),
        ("/job", {"id": "gone", "do": "cancel"}, 404, "no such job"),
        ("/cron", {"name": "bill", "do": "destroy"}, 400, "do: must be one of run, pause, resume"),
        ("/job", {"id": "a"}, 400, "do: must be one of retry, cancel"),
    ],
)
def test_an_action_on_what_is_gone_or_unknown_is_said(
    house: House, path: str, form: dict[str, str], status: int, words: str
) -> None:
    response = house.post(path, csrf=house.token(), **form)
    assert response.status_code == status
    assert words in response.text


def test_the_action_on_a_cron_that_has_just_left_the_configuration_is_a_404(tmp_path: Path) -> None:
    path = tmp_path / "crons.py"
    path.write_text("crons = {'bill': ('os:getpid', 60), 'mail': ('os:getpid', 60)}")
    with House.at(path) as house:
        token = house.token()
        path.write_text("crons = {'mail': ('os:getpid', 60)}")
        for do in ("run", "pause", "resume"):
            response = house.post("/cron", csrf=token, name="bill", do=do)
            assert response.status_code == 404, do


def test_where_everything_is_switched_off_nothing_is_run(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSEUDOCRON_ENABLED", "no")
    house.crons._locate("")
    response = house.post("/cron", csrf=house.token(), name="bill", do="run")
    assert response.status_code == 503
    assert "everything is switched off" in response.text


# Forged requests


FORGED: dict[str, dict[str, str | None]] = {
    "another site": {"origin": "http://evil.test"},
    "a neighbour": {"origin": "http://shop.test:81"},
    "a file or a sandbox": {"origin": "null"},
    "nowhere": {},
    "another page": {"referer": "http://evil.test/http://shop.test/"},
    "another site, as the browser knows": {"origin": "http://shop.test", "sec-fetch-site": "cross-site"},
    "a sister, as the browser knows": {"origin": "http://shop.test", "sec-fetch-site": "same-site"},
    "the address bar": {"sec-fetch-site": "none"},
    "no address at all": {"origin": "http://[evil"},
}


@pytest.mark.parametrize("origin", FORGED.values(), ids=FORGED)
def test_an_action_from_elsewhere_is_refused_though_its_token_is_right(house: House, origin: dict[str, str]) -> None:
    form = {"csrf": house.token(), "name": "bill", "do": "pause"}
    response = house.client.post("/crons/cron", data=form, headers=origin)
    assert response.status_code == 403
    assert "does not come from a page of this dashboard" in response.text
    assert not state(house).paused


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://shop.test"},
        {"referer": "http://shop.test/crons/"},
        {"origin": "http://behind.proxy", "sec-fetch-site": "same-origin"},
    ],
)
def test_an_action_from_our_own_page_is_done(house: House, headers: dict[str, str]) -> None:
    form = {"csrf": house.token(), "name": "bill", "do": "pause"}
    assert house.client.post("/crons/cron", data=form, headers=headers).status_code == 200
    assert state(house).paused


@pytest.mark.parametrize("token", ["", "x" * 43, "\u00e9", "*"])
def test_an_action_without_the_token_of_this_reader_is_refused(house: House, token: str) -> None:
    house.token()
    response = house.post("/cron", csrf=token, name="bill", do="pause")
    assert response.status_code == 403
    assert "token" in response.text
    assert not state(house).paused


def test_a_token_without_its_cookie_and_a_made_up_pair_are_worth_nothing(house: House) -> None:
    token = house.token()
    house.client.cookies.clear()
    assert house.post("/cron", csrf=token, name="bill", do="pause").status_code == 403
    house.client.cookies.set("pseudocron_csrf", "short")
    assert house.post("/cron", csrf="short", name="bill", do="pause").status_code == 403


def test_the_cookie_of_the_token_is_for_our_pages_alone(house: House) -> None:
    cookie = house.client.get("/crons/").headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/crons"))
    assert "Secure" not in cookie
    house.client.cookies.clear()
    assert "Secure" in house.client.get("https://shop.test/crons/").headers["set-cookie"]


def test_the_cookie_is_secure_where_all_origins_are(tmp_path: Path) -> None:
    for origins, is_secure in ((["https://shop.test"], True), (["https://shop.test", "http://shop.lan"], False)):
        with House.at(crons_of(f"file:{tmp_path}"), origins=origins) as house:
            assert ("; Secure" in house.client.get("/crons/").headers["set-cookie"]) is is_secure


@pytest.mark.parametrize(
    "origins",
    [
        "https://shop.test",
        None,
        [b"https://shop.test"],
        ["shop.test"],
        ["*"],
        ["ftp://shop.test"],
        ["https://"],
        ["https://shop.test/crons"],
        ["https://me:pw@shop.test"],
        ["https://shop.test:port"],
        ["https://shop.test?x"],
    ],
    ids=str,
)
def test_what_is_no_origin_is_refused_with_an_example(origins: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"dashboard: origins: .*: must be a .* such as \[?'https://crons\.example'"
    ) as error:
        dashboard("crons.py", auth=NoAuth(), origins=origins)
    assert "pw" not in str(error.value)


# Floods


def test_a_body_of_ten_megabytes_is_refused(house: House) -> None:
    def flood() -> Iterator[bytes]:
        for _ in range(160):
            yield b"a" * 65536

    form = {"content-type": "application/x-www-form-urlencoded", "origin": "http://shop.test"}
    response = house.client.post("/crons/cron", content=flood(), headers=form)
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ("&".join(f"a{number}=1" for number in range(50)), "application/x-www-form-urlencoded", 400),
        ("\xff", "application/x-www-form-urlencoded", 400),
        ("{}", "application/json", 415),
        ("--x--", "multipart/form-data; boundary=x", 415),
        ("", "", 415),
        ("", "application/x-www-form-urlencoded", 403),
    ],
)
def test_what_is_no_form_of_ours_is_refused(house: House, body: str, kind: str, status: int) -> None:
    headers = {"content-type": kind, "origin": "http://shop.test"}
    assert house.client.post("/crons/cron", content=body.encode("latin-1"), headers=headers).status_code == status


def test_a_flood_of_headers_cookies_and_parameters_is_a_page_like_any_other(house: House) -> None:
    headers = {f"x-{number}": "1" for number in range(1000)} | {"cookie": "; ".join(f"a{n}=1" for n in range(1000))}
    path = "/crons/?" + "&".join(f"a{number}=1" for number in range(1000))
    assert house.client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_no_other_method_is_known(house: House, method: str) -> None:
    assert house.client.request(method, "/crons/cron").status_code == 405
    assert house.client.post("/crons/").status_code == 405


def test_a_page_is_served_where_the_server_does_not_name_the_scheme(house: House) -> None:
    sent: list[Message] = []
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [(b"host", b"localhost")]}

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def visit() -> None:
        await dashboard(house.crons, auth=NoAuth())(scope, receive, send)

    asyncio.run(visit())
    cookies = [value for name, value in sent[0]["headers"] if name == b"set-cookie"]
    assert sent[0]["status"] == 200
    assert not any(b"secure" in cookie.lower() for cookie in cookies)
