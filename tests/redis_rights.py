"""The user with few rights that the reference describes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis_server import Server

REFERENCE = Path(__file__).parents[1] / "docs" / "reference" / "redis.md"
PASSWORD = "of-few-rights"  # noqa: S105 - of servers that live for a test


@cache
def words() -> tuple[str, ...]:
    """Return the command of the reference, for the application shop."""
    (line,) = [line for line in REFERENCE.read_text(encoding="utf-8").splitlines() if line.startswith("ACL SETUSER")]
    return tuple(line.split())


def give(server: Server, app: str) -> None:
    """Make a user that is called like its application, and may only what the reference says."""
    server.do(*(word.replace("shop", app).replace("PASSWORD", PASSWORD) for word in words()))
