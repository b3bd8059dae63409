"""Where a store is: beside the file that defines the crons, whoever makes them, or nowhere by accident."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from support import environ_with

from pseudocron.backends import connect
from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError
from pseudocron.middleware import PseudoCronMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = Path(__file__).parents[2]

MADE_BY = {
    "module": "crons = Crons()",
    "factory": """
        def make():
            return Crons()
        crons = make()
    """,
    "partial": """
        from functools import partial
        crons = partial(Crons, tz="UTC")()
    """,
    "subclass": """
        from library import Own
        crons = Own()
    """,
    "class method": """
        from library import Own
        crons = Own.made()
    """,
    "metaclass": """
        from library import Counted
        crons = Counted()
    """,
    "generated constructor": """
        from dataclasses import dataclass, field
        @dataclass
        class Application:
            crons: Crons = field(default_factory=Crons)
        crons = Application().crons
    """,
    "comprehension": "(crons,) = [Crons() for _ in range(1)]",
}
LIBRARY = """
from pseudocron.crons import Crons

class Own(Crons):
    def __init__(this, *args):
        keep = lambda: this  # a cell
        super().__init__()

    @classmethod
    def made(cls):
        return cls()

class Meta(type):
    def __call__(cls, *args):
        return super().__call__(*args)

class Counted(Crons, metaclass=Meta):
    pass
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an application, which is not the one that is worked in."""
    folder = tmp_path / "shop"
    (folder / "lib").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(folder), str(folder / "lib"), *sys.path])
    (folder / "lib" / "library.py").write_text(LIBRARY)
    monkeypatch.chdir(tmp_path)
    yield folder
    for name in ("wares", "goods", "library", "factory"):
        sys.modules.pop(name, None)


def place(crons: Crons) -> Path:
    return Path(crons._connect()._store._path).parent  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", MADE_BY)
def test_a_store_is_beside_the_file_that_makes_the_crons(shop: Path, way: str) -> None:
    (shop / "wares.py").write_text(f"from pseudocron.crons import Crons\n{dedent(MADE_BY[way])}")
    expected = shop / ".pseudocron"
    assert place(open_source("wares:crons").load()) == expected
    assert place(sys.modules["wares"].crons) == expected
    for path in (shop / "wares.py", Path("shop/wares.py")):
        assert place(open_source(path).load()) == expected
    del sys.modules["wares"]
    assert place(open_source("shop/wares.py").load()) == expected  # executed on its own


def test_the_file_that_calls_a_factory_of_another_module_is_not_its_place(shop: Path) -> None:
    (shop / "lib" / "factory.py").write_text("from pseudocron.crons import Crons\ndef make(): return Crons()")
    (shop / "wares.py").write_text("import factory\ncrons = factory.make()")
    expected = shop / "lib" / ".pseudocron"
    assert place(open_source("shop/wares.py").load()) == place(open_source("wares:crons").load()) == expected


@pytest.mark.parametrize("made", ["crons = {}", "from pseudocron.crons import Crons\ncrons = Crons()"])
def test_settings_beside_the_crons_are_those_of_every_way_to_them(shop: Path, made: str) -> None:
    text = f"BACKEND = 'file:data'\nAPP = 'shop'\nLEASE = 7\nTZ = object()\n{made}"
    (shop / "wares.py").write_text(text.replace("TZ = object()\n", ""))
    (shop / "goods.py").write_text(text)
    found = [open_source(ref).load() for ref in ("shop/wares.py", "wares:crons", "goods:crons")]
    assert [place(crons) for crons in found] == [shop / "data" / "shop"] * 3
    assert [crons.settings.lease for crons in found] == [7] * 3
    assert all(crons.settings.tz == "UTC" for crons in found)


def test_settings_beside_crons_of_another_file_are_refused(shop: Path) -> None:
    (shop / "wares.py").write_text("from pseudocron.crons import Crons\ncrons = Crons()")
    (shop / "other.py").write_text("BACKEND = 'file:/x'\nfrom wares import crons")
    with pytest.raises(ConfigError) as error:
        open_source("shop/other.py").load()
    where = shop / "wares.py"
    assert str(error.value) == f"shop/other.py: BACKEND: has no effect here; set it in {where}, or by Crons(...)"


@pytest.mark.parametrize(("folder", "expected"), [("data", "shop/data"), ("/srv/x", "/srv/x"), ("", None), (7, None)])
def test_a_folder_that_is_named_counts_from_that_of_the_file(shop: Path, folder: object, expected: str | None) -> None:
    (shop / "wares.py").write_text(f"from pseudocron.crons import Crons\ncrons = Crons(folder={folder!r})")
    if expected is None:
        with pytest.raises(ConfigError, match=r"Crons: folder: (''|7): must be the path of a folder"):
            open_source("shop/wares.py").load()
        return
    for ref in ("shop/wares.py", "wares:crons"):
        assert place(open_source(ref).load()) == shop.parent / expected / ".pseudocron"


def test_links_are_not_resolved(shop: Path) -> None:
    (shop / "wares.py").write_text("from pseudocron.crons import Crons\ncrons = Crons()")
    current = shop.parent / "current"
    current.symlink_to(shop)
    assert place(open_source("current/wares.py").load()) == current / ".pseudocron"
    sys.path.insert(0, str(current))
    assert place(open_source("wares:crons").load()) == current / ".pseudocron"


def test_a_mapping_has_no_folder_but_may_be_given_a_store(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    middleware = PseudoCronMiddleware(lambda *_: None, crons={"a": ("os:getpid", 60)})  # type: ignore[arg-type]
    crons = middleware._process.source.load()
    line = (
        "backend 'file:.pseudocron': has no folder to count from: a mapping that is handed over is in no file; "
        "set Crons(folder=...) to an absolute one, or PSEUDOCRON_BACKEND=file:/var/lib/shop"
    )
    with pytest.raises(ConfigError) as error:
        crons._connect()
    assert str(error.value) == line
    monkeypatch.setenv("PSEUDOCRON_BACKEND", f"file:{shop}/data")
    assert place(open_source({"a": ("os:getpid", 60)}).load()) == shop / "data"


SAY = """
from pseudocron import Crons
def say(crons):
    try:
        print(crons._connect()._store._path)
    except ValueError as error:
        print(error)
"""
NOWHERE = "has no folder to count from: "


def said(*argv: str, folder: Path, typed: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=folder,
        env=environ_with(REPO),
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("folder", ["None", "'data'"])
def test_crons_of_a_repl_or_of_a_command_line_have_no_folder(tmp_path: Path, folder: str) -> None:
    code = f"{SAY}\nsay(Crons(folder={folder}))\nsay(Crons(folder='/srv/shop'))\n"
    for answer in (said("-c", code, folder=tmp_path), said("-i", folder=tmp_path, typed=code)):
        refused, given = answer.splitlines()
        assert f"{NOWHERE}the crons are defined in no file" in refused
        assert given == "/srv/shop/.pseudocron/crons.db"


def test_crons_in_an_archive_have_no_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.writestr("shop/__init__.py", "")
        archive.writestr("shop/crons.py", "from pseudocron import Crons\ncrons = Crons()\nmade = {}")
        archive.writestr("__main__.py", f"{SAY}from shop.crons import crons\nsay(crons)\nsay(Crons())")
    for line in said("app.pyz", folder=tmp_path).splitlines():
        assert NOWHERE in line
        assert "app.pyz" in line
        assert "is inside of an archive" in line
    assert [path.name for path in tmp_path.iterdir()] == ["app.pyz"]


@pytest.mark.parametrize("made", ["crons = {}", "from pseudocron.crons import Crons\ncrons = Crons()"])
def test_crons_of_an_installed_package_have_no_folder(shop: Path, made: str) -> None:
    installed = shop / "lib" / "python3.11" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "wares.py").write_text(made)
    sys.path.insert(0, str(installed))
    for ref in (installed / "wares.py", "wares:crons"):
        with pytest.raises(ConfigError, match=rf"{NOWHERE}'{installed}/wares.py' is an installed package; set Crons"):
            open_source(ref).load()._connect()


def test_crons_that_the_standard_library_makes_have_no_folder() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool, pytest.raises(ConfigError, match=r"thread.py' is an installed package"):
        pool.submit(Crons).result()._connect()


def test_crons_of_a_frozen_program_have_no_folder_but_a_file_beside_has(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "wares.py").write_text("from pseudocron.crons import Crons\ncrons = Crons()")
    (shop / "lib" / "crons.py").write_text("crons = {}")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "_MEIPASS", str(shop / "lib"), raising=False)
    with pytest.raises(ConfigError, match=rf"{NOWHERE}'.*crons.py' is part of a frozen program"):
        open_source("shop/lib/crons.py").load()._connect()
    assert place(open_source("shop/wares.py").load()) == shop / ".pseudocron"


def test_a_relative_store_of_another_package_needs_a_folder_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'file:x': has no folder to count from: so it is; set"):
        connect("file:x", folder=tmp_path, unfit=lambda: "so it is")
    assert connect("memory:", folder=tmp_path, unfit=lambda: "so it is") is not None


SUITE = """
pytest_plugins = ["pseudocron.pytest_plugin"]

import pytest
from pseudocron import Crons

made = Crons()

@made.task
def mail(): ...

@pytest.fixture
def crons():
    return made

def test_it(scheduler):
    mail.defer_sync()
    assert [job.task for job in scheduler.jobs()] == ["mail"]
"""


def test_the_pytest_plugin_uses_memory_also_where_no_store_can_be(tmp_path: Path) -> None:
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "conftest.py").write_text("")
    (tmp_path / "site-packages" / "test_it.py").write_text(SUITE)
    said("-m", "pytest", "-q", "-p", "no:cacheprovider", "site-packages/test_it.py", folder=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".db", ".lock"}]
