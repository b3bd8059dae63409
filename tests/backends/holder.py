"""Holds a slot and a job for an hour, and says so, until it is killed or its input ends.

python holder.py FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from pseudocron.backends.file import File
from pseudocron.backends.jobs import NewJob
from pseudocron.backends.records import Claim, Proposal


async def main(folder: Path) -> None:
    backend = File(folder)
    await backend.open()
    now = datetime.now(UTC)
    assert isinstance(await backend.claim(Proposal(name="mail", slot=now, worker="host:1", lease=3600)), Claim)
    await backend.defer([NewJob(job_id="j1", task="mail", arguments="{}", due=now)], max_age=60)
    assert await backend.claim_jobs({"mail": None}, limit=1, worker="host:1", lease=3600)
    print("holds", flush=True)  # noqa: T201  its output


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
    sys.stdin.read()
