"""A server that may forget is warned of, once in the log and in `check`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cli.shell import pseudocron
from redis_server import Server
from support import Clock, Lifespan, hello, visit

from pseudocron import PseudoCronMiddleware
from pseudocron.crons import Crons
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORGETS = "forgets everything when it is restarted: jobs are only as durable as the Redis they are in, set appendonly"
EVICTS = "may throw away crons and jobs when its memory is full (maxmemory-policy is allkeys-lru): set maxmemory-policy"


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (("--save", ""), [FORGETS]),
        (("--save", "", "--appendonly", "yes"), []),
        (("--save", "3600", "1", "--maxmemory-policy", "allkeys-lru"), []),
        (("--save", "", "--maxmemory-policy", "allkeys-lru", "--maxmemory", "1gb"), [EVICTS, FORGETS]),
        (("--save", "3600", "1", "--maxmemory-policy", "volatile-lru", "--maxmemory", "1gb"), []),
    ],
)
def test_what_endangers_jobs_is_logged_once_and_shown_by_check(
    start_server: Callable[..., Server],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    options: tuple[str, ...],
    lines: list[str],
) -> None:
    server = start_server(*options)
    crons = Crons(backend=server.url, app="pseudocron")
    middleware, clock = PseudoCronMiddleware(hello, crons=crons, wait=10), Clock()

    async def main() -> None:
        process_of(crons)._host = clock.host
        async with Lifespan(middleware):
            for _ in range(3):
                clock.forward(120)
                process_of(crons).deadline = -1
                await asyncio.to_thread(server.do, "DEL", "{pseudocron}:gate")
                await visit(middleware)

    asyncio.run(main())
    warned = [line for line in caplog.messages if "Redis at" in line]
    assert len(warned) == len(lines)
    assert all(line in said for line, said in zip(lines, warned, strict=True))
    if len(lines) < 2:  # `check` is a process of its own, which takes its time
        return
    (tmp_path / "crons.py").write_text(f"BACKEND = {server.url!r}\nAPP = 'shop'\ncrons = {{}}")
    shown = pseudocron(tmp_path, "check", COLUMNS="400").stdout
    assert shown.count("Warning: ") == len(lines)
    assert all(line in shown for line in lines)
