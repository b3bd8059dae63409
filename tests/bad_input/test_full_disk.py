"""A disk without room while runs go on and requests come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import environ_with

HERE = Path(__file__).parent
IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def may_mount() -> bool:
    try:
        return subprocess.run([*IN_A_NAMESPACE, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        pytest.param(
            "disk",
            "can't be used: database or disk is full, make room on its disk: nothing is lost",
            marks=pytest.mark.skipif(not may_mount(), reason="this host lets nobody mount; the other way holds"),
        ),
        ("limit", "can't be used: disk I/O error, is its disk full, or broken?"),
    ],
)
def test_a_full_disk_loses_no_request_and_is_told_once(tmp_path: Path, how: str, complaint: str) -> None:
    store = f"store '{tmp_path}/store/crons.db' {complaint}"
    done = subprocess.run(
        [*(IN_A_NAMESPACE if how == "disk" else []), sys.executable, str(HERE / "full_disk.py"), str(tmp_path), how],
        env=environ_with(HERE.parent),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["refused"] == 0
    assert f"poll failed: {store}" in told["told"]
    results = [f"{name}: result not recorded yet: {store}; retried" for name in ("digest", "often", "digest, often")]
    assert set(results) & set(told["told"]), "of all results that wait, one is named"
    assert len(set(told["told"])) == len(told["told"]), "nothing is said twice"
    assert told["digest"] == ["succeeded"], "the run that ended meanwhile is recorded, and has not run again"
