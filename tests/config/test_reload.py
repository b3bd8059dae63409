"""A changed config file is read again; a bad edit keeps the last good configuration and says so."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support import wait_until

from pseudocron.config import reading
from pseudocron.config import source as source_module
from pseudocron.config.source import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pseudocron.config.source import Source

GOOD = {".py": "crons = {'%s': ('shop:send', 60)}\n", ".toml": "[crons.%s]\nrun = 'shop:send'\nschedule = 60\n"}
BAD = {".py": "crons = {'%s': ('shop:sned', 60)}\n", ".toml": "[crons.%s]\nrun = 'shop:sned'\nschedule = 60\n"}

both = pytest.mark.parametrize("suffix", [".py", ".toml"])


def names(source: Source) -> list[str]:
    return [cron.name for cron in source.reload()]


def write(path: Path, text: str) -> None:
    """Edit a file, in a tick of the kernel's coarse clock that no edit before was in."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 1, max(before + 1, path.stat().st_mtime_ns)))


@both
def test_an_edit_is_read_at_the_next_reload(shop: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    path = shop / f"crons{suffix}"
    write(path, GOOD[suffix] % "a")
    source = open_source(path)
    first = source.load()
    assert names(source) == ["a"]
    assert source.reload() is first
    write(path, GOOD[suffix] % "b")
    with caplog.at_level(logging.INFO, "pseudocron"):
        assert names(source) == ["b"]
    assert source.load() is source.reload() is not first
    assert [record.getMessage() for record in caplog.records] == [f"{path}: read again, crons: 1"]


@both
def test_a_bad_edit_keeps_the_last_good_and_is_logged_once(
    shop: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = shop / f"crons{suffix}"
    write(path, GOOD[suffix] % "a")
    source = open_source(f"crons{suffix}")
    good = source.load()
    write(path, BAD[suffix] % "b")
    assert source.reload() is source.reload() is source.load() is good
    message = f"crons{suffix}: 'b': 'shop:sned': 'shop' has no 'sned', did you mean 'send'?"
    assert source.error == message
    assert [(record.name, record.levelname) for record in caplog.records] == [("pseudocron", "ERROR")]
    assert caplog.messages == [f"{message} (the last good configuration stays)"]
    write(path, "\0")
    source.reload()
    assert source.error is not None
    assert "NUL" in source.error
    assert len(caplog.messages) == 2


@both
def test_a_good_edit_after_a_bad_one_clears_the_error(
    shop: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = shop / f"crons{suffix}"
    write(path, GOOD[suffix] % "a")
    source = open_source(path)
    source.load()
    write(path, BAD[suffix] % "b")
    assert names(source) == ["a"]
    write(path, GOOD[suffix] % "c")
    with caplog.at_level(logging.INFO, "pseudocron"):
        assert names(source) == ["c"]
    assert source.error is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_edits_that_keep_the_time_are_noticed_by_their_size(shop: Path) -> None:
    path = shop / "crons.py"
    write(path, GOOD[".py"] % "a")
    source = open_source(path)
    source.load()
    time = path.stat().st_mtime_ns
    path.write_text(GOOD[".py"] % "long")
    os.utime(path, ns=(time, time))
    assert names(source) == ["long"]


def test_edits_that_keep_time_and_size_are_noticed_by_the_new_file(shop: Path) -> None:
    path, draft = shop / "crons.py", shop / "draft.py"
    write(path, GOOD[".py"] % "a")
    source = open_source(path)
    source.load()
    draft.write_text(GOOD[".py"] % "b")
    os.utime(draft, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
    draft.replace(path)
    assert names(source) == ["b"]


def test_edits_within_a_second_are_noticed_by_the_nanoseconds(shop: Path) -> None:
    path = shop / "crons.py"
    write(path, GOOD[".py"] % "a")
    source = open_source(path)
    source.load()
    time = path.stat().st_mtime_ns
    path.write_text(GOOD[".py"] % "b")
    os.utime(path, ns=(time + 1, time + 1))
    assert names(source) == ["b"]


def test_a_swapped_symlink_is_an_edit(shop: Path) -> None:
    for name in ("a", "b"):
        (shop / f"{name}.py").write_text(GOOD[".py"] % name)
    (shop / "crons.py").symlink_to("a.py")
    source = open_source("crons.py")
    assert names(source) == ["a"]
    (shop / "next.py").symlink_to("b.py")
    (shop / "next.py").replace(shop / "crons.py")
    assert names(source) == ["b"]


def test_a_file_that_is_gone_is_a_bad_edit_until_it_is_back(shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = shop / "crons.py"
    write(path, GOOD[".py"] % "a")
    source = open_source("crons.py")
    source.load()
    path.unlink()
    assert names(source) == names(source) == ["a"]
    assert source.error == f"crons.py: there is no such file in {shop}"
    assert len(caplog.messages) == 1
    write(path, GOOD[".py"] % "b")
    assert names(source) == ["b"]
    assert source.error is None


def test_a_file_that_was_bad_at_first_loads_once_it_is_good(shop: Path) -> None:
    path = shop / "crons.py"
    source = open_source(path)
    with pytest.raises(ValueError, match="no such file"):
        source.load()
    path.write_text(GOOD[".py"] % "a")
    assert names(source) == ["a"]


def test_settings_follow_an_edit_but_not_those_of_the_open_store(shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = shop / "crons.py"
    write(path, f"BACKEND = 'file:a'\nAPP = 'a'\nLEASE = 5\n{GOOD['.py'] % 'a'}")
    source = open_source("crons.py")
    source.load()
    write(path, f"BACKEND = 'file:b'\nAPP = 'b'\nLEASE = 6\n{GOOD['.py'] % 'b'}")
    assert names(source) == ["b"]
    settings = source.load().settings
    assert (settings.backend, settings.app, settings.lease) == ("file:a", "a", 6)
    assert caplog.messages == [
        "crons.py: backend: 'file:b': needs a restart, 'file:a' stays",
        "crons.py: app: 'b': needs a restart, 'a' stays",
    ]
    source.reload()
    assert len(caplog.messages) == 2


HANGS = """
import threading, builtins
from pathlib import Path
with Path(__file__).with_name("executed").open("a") as file:
    file.write("x")
threading.stop.wait(60)
crons = {"b": ("os:getpid", 60)}
"""


def executed(shop: Path) -> int:
    return len((shop / "executed").read_text()) if (shop / "executed").exists() else 0


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What a file that hangs waits for."""
    event = threading.Event()
    monkeypatch.setattr(threading, "stop", event, raising=False)
    monkeypatch.setattr(source_module, "READ_WITHIN", 0.05)
    monkeypatch.setattr(reading, "TELL_AFTER", 0.1)
    yield event
    event.set()


def test_a_hanging_edit_is_told_once_and_the_last_good_one_stays(
    shop: Path, stop: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    write(shop / "crons.py", GOOD[".py"] % "a")
    source = open_source("crons.py")
    good = source.load()
    write(shop / "crons.py", HANGS)
    began = time.monotonic()
    assert source.reload() is source.reload() is good
    wait_until(lambda: source.error, 2)
    assert source.reload() is good
    assert time.monotonic() - began < 1
    assert source.error == "crons.py, line 6: still being read after 5 s"
    assert caplog.messages == [f"{source.error} (the last good configuration stays)"]
    stop.set()
    wait_until(lambda: names(source) == ["b"], 2)
    assert source.error is None
    assert executed(shop) == 1


@pytest.mark.usefixtures("stop")
def test_an_edit_after_one_that_hangs_is_read(shop: Path) -> None:
    write(shop / "crons.py", GOOD[".py"] % "a")
    source = open_source("crons.py")
    source.load()
    write(shop / "crons.py", HANGS)
    assert names(source) == ["a"]
    write(shop / "crons.py", GOOD[".py"] % "c")
    wait_until(lambda: names(source) == ["c"], 2)
    assert source.error is None


def test_a_first_read_that_takes_long_is_told(
    shop: Path, stop: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    (shop / "crons.py").write_text(HANGS)

    def go_on() -> None:
        wait_until(lambda: caplog.messages, 2)
        stop.set()

    threading.Thread(target=go_on).start()
    assert names(open_source("crons.py")) == ["b"]
    assert caplog.messages == ["crons.py, line 6: still being read after 5 s"]


BAD_ONCE = """
from pathlib import Path
with Path(__file__).with_name("executed").open("a") as file:
    file.write("x")
"""


@pytest.mark.parametrize(
    "wrong",
    [
        "1 / 0",
        "crons = {'b': ('shop:sned', 60)}",
        "crons = {'b': ('broken:send', 60)}",
        "crons = {'b': ('a', 6, 6, 6)}",
    ],
)
def test_a_bad_edit_is_executed_once(shop: Path, wrong: str) -> None:
    write(shop / "crons.py", GOOD[".py"] % "a")
    source = open_source("crons.py")
    source.load()
    write(shop / "crons.py", BAD_ONCE + wrong)
    for _ in range(5):
        assert names(source) == ["a"]
    assert source.error
    assert executed(shop) == 1


@pytest.mark.parametrize(
    ("wrong", "file", "right"),
    [
        ("crons = {'b': ('broken:send', 60)}", "broken.py", "def send(): pass  # repaired"),
        ("import later\ncrons = {'b': (later.send, 60)}", "later.py", "def send(): pass"),
        ("crons = {'b': ('jobs.later:send', 60)}", "jobs/later.py", "def send(): pass"),
        ("crons = {'b': ('jobs/later.py', 60)}", "jobs/later.py", ""),
        ("from twisted_ import send\ncrons = {'b': (send, 60)}", "twisted_.py", "def send(): pass"),
    ],
)
def test_a_bad_edit_is_executed_again_when_its_cause_has_changed(shop: Path, wrong: str, file: str, right: str) -> None:
    write(shop / "crons.py", GOOD[".py"] % "a")
    (shop / "twisted_.py").write_text("def other(): pass")
    (shop / "jobs" / "__init__.py").touch()
    source = open_source("crons.py")
    source.load()
    write(shop / "crons.py", BAD_ONCE + wrong)
    assert names(source) == names(source) == ["a"]
    write(shop / file, right)
    expected = ["a"] if file == "twisted_.py" else ["b"]  # a module that is imported stays as it is
    assert names(source) == names(source) == expected
    assert executed(shop) == 2


def test_modules_that_have_changed_but_are_not_read_again_are_told(
    shop: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "import later\ndef own(): pass\ncrons = {'a': ('shop:send', 60), 'b': (later.send, 60), 'c': (own, %d)}"
    (shop / "later.py").write_text("def send(): return 1")
    write(shop / "crons.py", text % 60)
    source = open_source("crons.py")
    source.load()
    write(shop / "crons.py", text % 61)
    source.reload()
    assert caplog.messages == []
    for file in ("later.py", "shop.py"):
        write(shop / file, (shop / file).read_text() + "# edited")
    write(shop / "crons.py", text % 62)
    assert source.reload()["b"].target.call() == 1  # type: ignore[union-attr]
    told = "crons.py: not read again, though changed: later, shop; restart to run the new code"
    assert caplog.messages == [told]
    write(shop / "crons.py", text % 63)
    source.reload()
    assert caplog.messages == [told]


def test_crons_built_in_code_are_not_read_again(shop: Path) -> None:
    path = shop / "crons.py"
    text = "from pseudocron.crons import Crons\ncrons = Crons()\ncrons.add('%s', 'shop:send', 60)\n"
    write(path, text % "a")
    source = open_source(path)
    source.load()
    write(path, text % "b")
    assert names(source) == ["a"]
    assert source.error is None


def test_the_traceback_of_a_config_files_function_shows_its_line(shop: Path) -> None:
    import traceback

    (shop / "crons.py").write_text("def f():\n    return 1 / 0  # here\ncrons = {'f': (f, 60)}\n")
    target = open_source("crons.py").load()["f"].target
    try:
        target.call()  # type: ignore[union-attr]
    except ZeroDivisionError:
        assert "# here" in traceback.format_exc()


def test_a_bad_edit_becomes_good_when_what_it_names_is_there(shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = shop / "crons.py"
    write(path, GOOD[".py"] % "a")
    source = open_source(path)
    source.load()
    write(path, "crons = {'b': ('late.py', 60)}\n")
    assert names(source) == names(source) == ["a"]
    assert len(caplog.records) == 1
    (shop / "late.py").touch()
    assert names(source) == ["b"]
    assert source.error is None


def test_files_of_one_name_that_are_loaded_at_once_never_mix(tmp_path: Path) -> None:
    """Each has a dataclass whose annotations are looked up in its module, and waits for the other one in its middle."""
    names = ("a", "b", "c")
    text = (
        "from __future__ import annotations\n"
        "import threading, dataclasses, typing\n"
        "threading.meeting.wait(10)\n"
        "class Name(str): pass\n"
        "threading.meeting.wait(10)\n"
        "@dataclasses.dataclass\n"
        "class Entry:\n    kind: dataclasses.InitVar[int]\n    name: Name = Name('{name}')\n"
        "threading.meeting.wait(10)\n"
        "assert typing.get_type_hints(Entry)['name'] is Name\n"
        "crons = {{Entry(1).name: ('os:getpid', 60)}}\n"
    )
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "crons.py").write_text(text.format(name=name))
    sources = {f"{name}{n}": open_source(tmp_path / name / "crons.py") for name in names for n in (1, 2)}
    threading.meeting = threading.Barrier(len(sources))  # type: ignore[attr-defined]
    with ThreadPoolExecutor(len(sources)) as pool:
        loaded = list(pool.map(lambda source: [cron.name for cron in source.load()], sources.values()))
    del threading.meeting  # type: ignore[attr-defined]
    assert loaded == [[name[0]] for name in sources]
    assert not [name for name in sys.modules if name.startswith("<crons")]
