"""Claims one slot after the other and says so, until it is killed.

python claimer.py FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from itertools import count
from pathlib import Path

from backends.worlds import NOON
from pseudocron.backends.file import File
from pseudocron.backends.records import Claim, Proposal


async def main(folder: Path) -> None:
    backend = File(folder)
    await backend.open()
    for n in count():
        slot = NOON + timedelta(seconds=n)
        claim = await backend.claim(
            Proposal(name="mail", slot=slot, worker="doomed", lease=3600, max_instances=1_000_000)
        )
        assert isinstance(claim, Claim)
        print(claim.run_id, flush=True)  # noqa: T201  its output


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
