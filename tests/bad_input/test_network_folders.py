"""A store's folder on a network file system is refused: its locks may hold for one machine only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support import Clock

from pseudocron.backends.file import machines, mounts
from pseudocron.backends.file.backend import File
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"


def a_table(tmp_path: Path, *mounted: tuple[Path, str]) -> Path:
    lines = [ROOT]
    for place, kind in mounted:
        point = str(place).replace(" ", "\\040")
        lines.append(f"40 22 0:44 / {point} rw,relatime shared:7 master:2 - {kind} host:/export rw,vers=4")
    table = tmp_path / "mountinfo"
    table.write_text("\n".join(lines))
    return table


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "ceph", "glusterfs"])
def test_a_network_file_system_is_known_by_its_type(tmp_path: Path, kind: str) -> None:
    shared = tmp_path / "a share"
    (shared / "below").mkdir(parents=True)
    table = a_table(tmp_path, (shared, kind))
    assert mounts.network_type(shared, table) == kind
    assert mounts.network_type(shared / "below", table) == kind
    assert mounts.network_type(tmp_path, table) is None


def test_what_is_mounted_deepest_or_last_counts(tmp_path: Path) -> None:
    local = tmp_path / "share" / "local"
    local.mkdir(parents=True)
    table = a_table(tmp_path, (local, "nfs"), (local, "9p"), (tmp_path / "share", "nfs"))
    assert mounts.network_type(local, table) is None
    assert mounts.network_type(local.parent, table) == "nfs"


def test_a_link_onto_a_share_leads_to_the_share(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "link").symlink_to("share")
    assert mounts.network_type(tmp_path / "link", a_table(tmp_path, (tmp_path / "share", "nfs"))) == "nfs"


def test_where_no_table_is_told_nothing_is_refused(tmp_path: Path) -> None:
    assert mounts.network_type(tmp_path, tmp_path / "none") is None


def test_a_store_there_is_refused_with_the_mend_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "share").mkdir()
    monkeypatch.setattr(mounts, "TABLE", a_table(tmp_path, (tmp_path / "share", "nfs4")))
    message = r"its folder is on a network file system \(nfs4\), .* name a local folder, or .* redis://HOST"
    with pytest.raises(BackendError, match=message):
        asyncio.run(File(tmp_path / "share").open())
    assert not list((tmp_path / "share").iterdir())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time on machines that were started an hour ago."""
    clock = Clock()
    started = int((clock.now.timestamp() - 3600) * 1_000_000)
    monkeypatch.setattr(machines, "booted", lambda: started)
    return clock


def advised(folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, machine: str) -> Sequence[str]:
    """What a process on a machine is told."""
    monkeypatch.setattr("pseudocron.backends.file.backend.this_machine", lambda: machine)

    async def ask() -> Sequence[str]:
        store = File(folder / "store", host=clock.host)
        await store.open()
        try:
            return await store.advice()
        finally:
            await store.close()

    return asyncio.run(ask())


def test_a_machine_that_writes_where_another_does_is_warned(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not advised(tmp_path, clock, monkeypatch, "one")
    clock.forward(3599)
    (line,) = advised(tmp_path, clock, monkeypatch, "two")
    assert "store" in line
    assert "was written to lately by another machine too" in line
    assert line.endswith("redis://HOST")


def test_a_process_that_is_started_again_on_the_same_machine_is_not(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        assert not advised(tmp_path, clock, monkeypatch, "one")
        clock.forward(10)


def test_what_was_written_long_ago_or_before_the_boot_is_no_matter(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not advised(tmp_path, clock, monkeypatch, "one")
    clock.forward(3601)
    assert not advised(tmp_path, clock, monkeypatch, "two")
    started = int((clock.now.timestamp() + 5) * 1_000_000)
    monkeypatch.setattr(machines, "booted", lambda: started)
    clock.forward(10)
    assert not advised(tmp_path, clock, monkeypatch, "two, started again")


def test_this_machine_is_known_by_its_start() -> None:
    assert machines.this_machine()
    assert machines.booted() > 0
