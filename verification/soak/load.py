"""Visitors who come at fixed moments, however long they wait, and tell each ten seconds how long that was."""

from __future__ import annotations

import json
import select
import sys
import time
from collections import defaultdict, deque

from harness.uvicorn_server import Connection

RATE = 1000
"""Requests a second."""
DEFERS = 20
"""One request in so many defers a job."""
CONNECTIONS = 64
"""As a proxy keeps to a server; who finds none free waits for one, and that counts."""


class Visitors:
    """An open loop: each wait is counted from the moment at which the request should have been sent.

    Args:
        port: Where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._idle = deque(Connection(port) for _ in range(CONNECTIONS))  # in turn, so that none is idle for long
        self._asked: dict[Connection, tuple[str, float]] = {}
        self._waiting: deque[tuple[str, float]] = deque()
        self._waits: defaultdict[str, list[float]] = defaultdict(list)

    def come(self, path: str, moment: float) -> None:
        """One more, who should be asking at this moment of the monotonic clock."""
        self._waiting.append((path, moment))
        self._ask()

    def serve(self, until: float) -> None:
        """Take what is answered, until a moment of the monotonic clock."""
        while (left := until - time.monotonic()) > 0:
            # `select` waits for microseconds where `poll` rounds to milliseconds.
            for connection in select.select(list(self._asked), [], [], left)[0]:
                connection.answer()
                path, moment = self._asked.pop(connection)
                self._waits[path].append(time.monotonic() - moment)
                self._idle.append(connection)
                self._ask()

    def _ask(self) -> None:
        while self._idle and self._waiting:
            connection = self._idle.popleft()
            self._asked[connection] = self._waiting.popleft()
            connection.ask(self._asked[connection][0])

    def tell(self) -> dict[str, float]:
        """How many were served since this was told last, and how long they waited, in milliseconds."""
        told: dict[str, float] = {"waiting": len(self._waiting)}
        for path, waits in self._waits.items():
            waits.sort()
            told |= {f"{path} p{part}": waits[len(waits) * part // 100] * 1e3 for part in (50, 99)}
            told |= {f"{path} max": waits[-1] * 1e3, f"{path} served": len(waits)}
        self._waits.clear()
        return told


def main(port: int, rate: int, interval: float) -> None:
    """Come for ever; print a line of JSON after each interval. A request that is not answered with 200 ends it."""
    visitors = Visitors(port)
    began = told = time.monotonic()
    number = 0
    while True:
        moment = began + number / rate
        visitors.serve(moment)
        visitors.come("/" if number % DEFERS else "/defer", moment)
        number += 1
        if moment >= told + interval:
            told += interval
            print(json.dumps(visitors.tell()), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
