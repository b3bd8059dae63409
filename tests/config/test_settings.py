"""Settings: the argument, else the environment, else the config file, else the default."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pseudocron.config.settings import Settings, gather
from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

FILE = 'CRON_MAX_TIME = 7\nBACKEND = "file:f"\nAPP = "f"\nTZ = "Asia/Tokyo"\nDRAIN = 7\n'
FILE += "CONCURRENCY = 7\nLEASE = 7\nHISTORY = 7\nRETENTION = 7\nRETENTION_FAILED = '7d'\nDURABILITY = 'process'\n"
ENVIRON = {
    "CRON_MAX_TIME": "8.5",
    "PSEUDOCRON_BACKEND": "file:e",
    "PSEUDOCRON_APP": "123",
    "PSEUDOCRON_TZ": "Asia/Kolkata",
    "PSEUDOCRON_DRAIN": "0",
    "PSEUDOCRON_CONCURRENCY": "8",
    "PSEUDOCRON_LEASE": " 8 ",
    "PSEUDOCRON_HISTORY": "8",
    "PSEUDOCRON_RETENTION": "8",
    "PSEUDOCRON_RETENTION_FAILED": "8d",
    "PSEUDOCRON_DURABILITY": "process",
}
GIVEN: dict[str, Any] = {
    "cron_max_time": 9,
    "backend": "file:g",
    "app": "g",
    "tz": "Asia/Shanghai",
    "drain": 0,
    "concurrency": 9,
    "lease": 9,
    "history": 9,
    "retention": 9,
    "retention_failed": 99,
    "durability": "process",
}


def test_the_defaults_are_those_of_the_design(shop: Path) -> None:
    assert Crons(folder=shop).settings == Settings(
        cron_max_time=60,
        backend="file:.pseudocron",
        app="pseudocron",
        tz="UTC",
        drain=5,
        concurrency=10,
        lease=30,
        history=20,
        retention=7 * 86400,
        retention_failed=30 * 86400,
        durability="power",
        enabled=True,
        folder=shop,
    )


@pytest.mark.parametrize("suffix", [".py", ".toml"])
def test_a_file_is_more_than_the_default(shop: Path, suffix: str) -> None:
    (shop / "jobs" / f"crons{suffix}").write_text(f"{FILE}{'crons = {}' if suffix == '.py' else '[crons]'}")
    settings = open_source(f"jobs/crons{suffix}").load().settings
    assert settings == Settings(
        cron_max_time=7,
        backend="file:f",
        app="f",
        tz="Asia/Tokyo",
        drain=7,
        concurrency=7,
        lease=7,
        history=7,
        retention=7,
        retention_failed=7 * 86400,
        durability="process",
        folder=shop / "jobs",
    )


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(0, 0), (1.5, 1.5), (timedelta(days=2), 172800), ("7d", 604800), ("1h30m", 5400), ("2 days", 172800)],
)
def test_the_retention_is_seconds_a_timedelta_or_words(given: Any, seconds: float) -> None:
    assert Crons(retention=given).settings.retention == seconds


@pytest.mark.parametrize("given", [-1, "soon", "-1", "9" * 40 + "d", True, "", math.inf])
def test_a_retention_that_is_none_is_refused_with_what_it_must_be(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"Crons: retention_failed: .*must be "):
        Crons(retention_failed=given)


def test_toml_may_write_settings_in_lower_case(shop: Path) -> None:
    (shop / "crons.toml").write_text(f"{FILE.lower()}[crons]".replace("asia/tokyo", "Asia/Tokyo"))
    assert open_source("crons.toml").load().settings.lease == 7


def test_python_files_may_have_constants_of_their_own(shop: Path) -> None:
    (shop / "crons.py").write_text("LEESE = object()\nlease = object()\nENABLED = 0\ncrons = {}")
    assert open_source("crons.py").load().settings == Settings(folder=shop)


def test_the_environment_is_more_than_the_file(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "crons.py").write_text(f"{FILE}crons = {{}}")
    for variable, value in ENVIRON.items():
        monkeypatch.setenv(variable, value)
    assert open_source("crons.py").load().settings == Settings(
        cron_max_time=8.5,
        backend="file:e",
        app="123",
        tz="Asia/Kolkata",
        drain=0,
        concurrency=8,
        lease=8,
        history=8,
        retention=8,
        retention_failed=8 * 86400,
        durability="process",
        folder=shop,
    )


def test_the_argument_is_more_than_the_environment(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in ENVIRON.items():
        monkeypatch.setenv(variable, value)
    assert Crons(**GIVEN, folder=shop).settings == Settings(**GIVEN, folder=shop)


def test_the_longer_variable_is_the_more_definite(shop: Path) -> None:
    environ = {"CRON_MAX_TIME": "1", "PSEUDOCRON_CRON_MAX_TIME": "2"}
    assert gather({}, environ=environ).cron_max_time == 2


def test_only_the_value_that_counts_is_looked_at(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSEUDOCRON_LEASE", "x")
    assert Crons(lease=9).settings.lease == 9


@pytest.mark.parametrize(
    ("word", "enabled"),
    [("0", False), ("false", False), ("No", False), ("OFF", False), ("1", True), ("true", True), ("on", True)],
)
def test_a_variable_switches_everything_off(
    shop: Path, monkeypatch: pytest.MonkeyPatch, word: str, *, enabled: bool
) -> None:
    monkeypatch.setenv("PSEUDOCRON_ENABLED", word)
    assert Crons().settings.enabled is enabled


def test_the_environment_is_read_when_the_settings_are_first_asked_for(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crons = Crons()
    monkeypatch.setenv("PSEUDOCRON_APP", "late")
    assert crons.settings.app == "late"
    monkeypatch.setenv("PSEUDOCRON_APP", "later")
    assert crons.settings.app == "late"


@pytest.mark.parametrize("folder", [".", "jobs"])
def test_crons_in_a_config_file_count_from_its_folder(shop: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    (shop / "jobs" / "crons.py").write_text(
        "from pseudocron.crons import Crons\n"
        "LEASE = 7\nAPP = 'file'\ncrons = Crons(app='given')\ncrons.add('tidy', 'tidy.py', 60)\n"
    )
    monkeypatch.chdir(folder)
    crons = open_source(shop / "jobs" / "crons.py").load()
    assert crons.settings == Settings(lease=7, app="given", folder=shop / "jobs")
    assert str(crons["tidy"].target) == str(shop / "jobs" / "tidy.py")
