"""Several hosts share a store, and nothing runs twice, or not at all, whatever their clocks say."""

from __future__ import annotations

import logging
import os
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from support import wait_until

from hosts.cluster import cluster
from hosts.many import Host, notes, serving, visitors

if TYPE_CHECKING:
    from pathlib import Path

    from redis_server import Server

logger = logging.getLogger(__name__)

FULL = os.environ.get("HOSTS") == "full"
SLOTS, JOBS, PATIENCE = (300, 5000, 110) if FULL else (20, 200, 40)


def prove(hosts: list[Host]) -> None:
    """Hosts whose clocks differ by seconds: each slot once, each job once, fences that grow."""
    folder = hosts[0].folder

    def enough() -> bool:
        took_part = {note.host for note in notes(folder, "slots")}
        done = len(notes(folder, "jobs")) >= JOBS and len(notes(folder, "slots")) >= SLOTS
        return done and len(took_part) == len(hosts)

    with serving(hosts):
        began = time.monotonic()
        with visitors(hosts, jobs=JOBS):
            wait_until(enough, PATIENCE)
    slots, jobs = sorted(notes(folder, "slots")), notes(folder, "jobs")
    assert [note.what for note in slots] == sorted({note.what for note in slots}), "a slot ran twice"
    assert sorted(note.what for note in jobs) == list(range(1, JOBS + 1)), "each job has run, once"
    assert all(one.fence < other.fence for one, other in pairwise(slots)), "fences grow"
    assert {other.what - one.what for one, other in pairwise(slots)} == {100_000}, "no slot is missing"
    assert not [host.log for host in hosts if "clock was set back" in host.log or "Traceback" in host.log]
    share = {host: sum(note.host == host for note in slots) for host in {note.host for note in slots}}
    logger.info("%d slots %s, %d jobs in %.1f s", len(slots), share.values(), len(jobs), time.monotonic() - began)


def test_three_hosts_whose_clocks_differ_run_each_slot_and_each_job_once(tmp_path: Path, server: Server) -> None:
    prove([Host(tmp_path, server.url, ahead=ahead) for ahead in (-5, 0, 5)])


def test_the_same_holds_on_a_cluster_of_three_nodes(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        store = ",".join(str(node.port) for node in nodes)
        some = [Host(tmp_path, store, ahead=-5, workers=1), Host(tmp_path, store, ahead=5, workers=1)]
        prove([Host(tmp_path, store, ahead=ahead) for ahead in (-5, 0, 5)] if FULL else some)
        holding = [node for node in nodes if node.do("KEYS", "*")]
        assert len(holding) == 1, "a script may touch all keys of the application together"
