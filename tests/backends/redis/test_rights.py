"""A user with no more rights than the reference names can use the store, and nothing else."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
import redis
import redis_rights

from backends.redis.using import defer, opened
from pseudocron.backends.redis.schema import SCRIPTS

if TYPE_CHECKING:
    from redis_server import Server

BESIDE = {"auth", "hello", "ping", "select", "info", "eval", "evalsha"}
"""What clients and checks call."""


def test_the_reference_names_just_the_commands_that_the_scripts_call() -> None:
    called = {
        command.lower()
        for script in SCRIPTS.values()
        for command in re.findall(r"""(?:call|try|pcall|parts)\((?:is_pending and )?'([A-Z]+)'""", script.body)
        + re.findall(r"""(?:and|or) '([A-Z]{4})',""", script.body)
    }
    assert {word[1:] for word in redis_rights.words() if word.startswith("+")} == called | BESIDE


def test_a_user_with_few_rights_opens_the_store_and_nothing_else(server: Server, app: str) -> None:
    redis_rights.give(server, app)
    url = f"redis://{app}:{redis_rights.PASSWORD}@127.0.0.1:{server.port}/0"

    async def main() -> None:
        async with opened(url, app) as backend:
            await defer(backend)
            assert await backend.advice() == []

    asyncio.run(main())
    with redis.Redis.from_url(url) as client:
        for words in (("GET", "other"), ("SET", f"{{{app}}}", 1), ("KEYS", "*"), ("CONFIG", "GET", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)
