"""Whatever stands in a column of a SQLite store, or under a key in Redis: one line, no other error, no other call."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from backends.using import opened
from redis_server import shared
from support import LONG

from verification.fuzzing import stores, verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VALUES = (None, 2**62, 1.5, float("inf"), b"\0\xff", "x", "[" * 100_000)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What can't be read is logged too, once for each verb."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("table", stores.TABLES)
def test_an_illegible_column_is_one_line_of_each_verb(table: str) -> None:
    hostile = stores.store()
    for number, column in enumerate(hostile.columns[table]):
        for value in VALUES if LONG else (VALUES[number % len(VALUES)], VALUES[-1 - number % len(VALUES)]):
            hostile.db.execute("BEGIN IMMEDIATE")
            hostile.restore()
            hostile.harm(table, column, value)
            hostile.db.execute("COMMIT")
            hostile.use()


def test_a_store_in_order_has_no_errors() -> None:
    hostile = stores.store()
    hostile.db.execute("BEGIN IMMEDIATE")
    hostile.restore()
    hostile.db.execute("COMMIT")
    assert hostile.use() == []


FIELDS = ("soon", "9" * 30, "9" * 5000, "-1e999", "[[", "{}", "7", b"\xff", "\0", "")


class Server:
    """Keys of an application on a Redis server, of which each is put in order after it was harmed."""

    def __init__(self, app: str) -> None:
        import redis

        self.client: Any = redis.Redis.from_url(shared().url)
        self.dumps: dict[bytes, bytes] = {}
        self.prefix = f"{{{app}}}:"

    def keep(self) -> None:
        self.dumps = {key: self.client.dump(key) for key in self.client.scan_iter(f"{self.prefix}*")}

    def restore(self) -> None:
        for key in self.client.scan_iter(f"{self.prefix}*"):
            self.client.delete(key)
        for key, dump in self.dumps.items():
            self.client.restore(key, 0, dump, replace=True)

    def harms(self) -> Iterator[tuple[bytes, Callable[[Any], None]]]:
        """Each field of each hash, each member of each set, and each key as a whole."""
        for key in self.dumps:
            if self.client.type(key) == b"hash":
                for field in self.client.hkeys(key):
                    yield key + b" " + field, lambda value, at=(key, field): self.client.hset(*at, value)  # type: ignore[misc]
            elif self.client.type(key) == b"zset":
                yield key, lambda value, at=key: self.client.zadd(at, {value: 1})  # type: ignore[misc]
            elif self.client.type(key) == b"set":
                yield key, lambda value, at=key: self.client.sadd(at, value)  # type: ignore[misc]
            elif self.client.type(key) == b"list":
                yield key, lambda value, at=key: self.client.lpush(at, value)  # type: ignore[misc]


def test_an_illegible_key_on_redis_is_one_line_of_each_verb() -> None:
    app = uuid4().hex

    async def main() -> None:
        async with opened(shared().url, app) as backend:
            server = Server(app)
            now = datetime.now(UTC)
            await verbs.fill(backend, now)
            await asyncio.to_thread(server.keep)
            assert not await stores.used(backend, now)
            await asyncio.to_thread(server.restore)
            harms = await asyncio.to_thread(lambda: list(server.harms()))
            for number, (where, harm) in islice(enumerate(harms), None, None, 1 if LONG else 3):
                await asyncio.to_thread(server.restore)
                await asyncio.to_thread(harm, FIELDS[number % len(FIELDS)])
                try:
                    await stores.used(backend, now)
                except Exception as error:
                    raise AssertionError(f"{where!r} as {FIELDS[number % len(FIELDS)]!r:.30}") from error
            await asyncio.to_thread(server.client.close)

    asyncio.run(main())
