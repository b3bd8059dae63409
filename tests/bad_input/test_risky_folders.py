"""`check` warns where a store may be gone after the next deployment or restart."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from cli.shell import pseudocron

from bad_input.test_network_folders import a_table
from pseudocron.backends.file import risks
from pseudocron.backends.file.risks import FIX

RELEASE = "is inside of the release '{}', so each release starts with an empty store"


@pytest.fixture(autouse=True)
def nothing_is_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(risks, "TEMPORARY", ())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def told(folder: Path, table: Path) -> list[str]:
    """What is said of a folder, without what each line begins and ends with."""
    lines = risks.risks(folder, table)
    start, end = f"store '{folder}': ", f"; {FIX}"
    assert all(line.startswith(start) and line.endswith(end) for line in lines)
    return [line.removeprefix(start).removesuffix(end) for line in lines]


@pytest.mark.parametrize(
    ("release", "link"),
    [
        ("releases/20240501083000", None),
        ("releases/7", "current"),
        ("releases/v1.2.0-rc1", None),
        ("versions/3f2a91c", None),
        ("builds/blue", "current"),
        ("shop-2.1", "current"),
        ("shop-2.1", "live"),
    ],
)
def test_a_release_is_known_by_its_name_or_by_the_link_to_one(tmp_path: Path, release: str, link: str | None) -> None:
    folder = tmp_path / "srv" / "www" / release
    (folder / "shop").mkdir(parents=True)
    table = a_table(tmp_path)
    expected = [RELEASE.format(folder)]
    if link is None:
        assert told(folder / "shop" / ".pseudocron", table) == told(folder, table) == expected
        return
    current = tmp_path / "srv" / "www" / link
    current.symlink_to(folder)
    assert told(current / "shop" / ".pseudocron", table) == expected  # as the server names it
    assert told(folder / "shop" / ".pseudocron", table) == expected
    other = folder.parent / f"{folder.name}.1"
    other.mkdir()
    assert told(other / ".pseudocron", table) == [RELEASE.format(other)]  # the next one


@pytest.mark.parametrize("folder", ["releases", "releases/shared/shop", "shop-2.1/data", "current", "site/7"])
def test_other_folders_are_none(tmp_path: Path, folder: str) -> None:
    assert told(tmp_path / "srv" / folder, a_table(tmp_path)) == []


def test_a_link_that_leads_in_a_circle_or_elsewhere_is_none(tmp_path: Path) -> None:
    (tmp_path / "srv" / "shop").mkdir(parents=True)
    (tmp_path / "srv" / "current").symlink_to("current")
    (tmp_path / "srv" / "live").symlink_to(tmp_path / "tmp")
    assert told(tmp_path / "srv" / "shop" / ".pseudocron", a_table(tmp_path)) == []


@pytest.mark.parametrize("kind", ["overlay", "aufs", "squashfs"])
def test_the_layer_of_an_image_is_known_by_its_type(tmp_path: Path, kind: str) -> None:
    table = a_table(tmp_path, (tmp_path, kind), (tmp_path / "volume", "ext4"))
    (tmp_path / "volume").mkdir()
    layer = f"is in the layer of an image ({kind}), and ends with the container; mount a volume"
    assert told(tmp_path / "app" / ".pseudocron", table) == [layer]
    assert told(tmp_path / "volume" / ".pseudocron", table) == []


def test_a_temporary_folder_is_known_by_its_name_or_its_type(tmp_path: Path) -> None:
    temporary = "is in a temporary folder, which is emptied at times"
    (tmp_path / "link").symlink_to("tmp")
    for folder in ("tmp", "tmp/shop", "link/shop"):
        assert told(tmp_path / folder, a_table(tmp_path)) == [temporary]
    assert told(tmp_path / "ram" / "shop", a_table(tmp_path, (tmp_path, "tmpfs"))) == [temporary]


def test_check_warns_of_a_release_but_not_if_the_store_is_elsewhere(tmp_path: Path) -> None:
    release = tmp_path / "releases" / "7"
    release.mkdir(parents=True)
    (release / "crons.py").write_text('crons = {"one": ("os:getpid", 3600)}')
    (tmp_path / "current").symlink_to(release)
    done = pseudocron(tmp_path, "check", "--crons", f"{tmp_path}/current/crons.py")
    assert f"\nWarning: store '{tmp_path}/current/.pseudocron': {RELEASE.format(release)}; {FIX}\n" in done.stdout
    done = pseudocron(tmp_path / "current", "check", PSEUDOCRON_BACKEND=f"file:{tmp_path}/shared", TMPDIR=os.devnull)
    assert "inside of the release" not in done.stdout
    assert (tmp_path / "shared").is_dir()
    assert done.returncode == 0
