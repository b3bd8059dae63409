"""Large calls of `defer`: their jobs are brought in parts, accepted by one small step, and stored in parts.

While a script runs, the server does nothing else, so no script may have much to do. Until a call is accepted, none of
its jobs is stored. From then on all will be, by the polls of other processes if this one dies.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import uuid4

from pseudocron.backends.model import Conflict
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

JOBS_AT_ONCE, CHARACTERS_AT_ONCE = 100, 100_000
"""Of one part: the server stores it within some milliseconds."""

IDS_AT_ONCE = 500
"""Ids that are asked for in one call."""

LEFT_AT_ONCE = 50
"""Parts that one poll stores of a call whose process is gone."""

TRIES = 10
"""How often a call begins again whose keys were taken by others before it was accepted."""

Job: TypeAlias = "Mapping[str, object]"
"""A job, as the scripts take it."""

Call: TypeAlias = "Callable[..., Coroutine[Any, Any, Any]]"
"""Calls a verb of the scripts."""


class Taken(NamedTuple):
    """A job whose key is taken.

    Args:
        number: Which job, from 0.
        by: The id of the pending job that has the key.
    """

    number: int
    by: str


async def defer(call: Call, jobs: Sequence[Job]) -> Sequence[str] | Taken:
    """Store jobs, all of them or none; return for each the id of the job that stands for it.

    Raises:
        BackendError: There is no answer; or others have taken the keys again and again.
    """
    parts = _parts(jobs)
    if len(parts) == 1:
        answer = await call("defer", jobs=jobs)
        return _taken(answer) if isinstance(answer, dict) and "refused" in answer else list(answer)
    for _ in range(TRIES):
        batch = Batch(call, parts)
        if (taken := await batch.bring()) is not None:
            return taken
        if await batch.accept():
            return await batch.store()
    raise BackendError("other processes take the keys of these jobs again and again: retry later")


async def store_left(call: Call, batch: str) -> None:
    """Store what another process has left of an accepted call, as much as a poll may take time for."""
    with suppress(BackendError):
        for _ in range(LEFT_AT_ONCE):
            if not await call("store", batch=batch):
                return


def _parts(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return jobs in parts, each of which the server stores quickly."""
    parts: list[list[Job]] = []
    size = CHARACTERS_AT_ONCE
    for job in jobs:
        more = len(str(job["arguments"]))
        if not parts or size + more > CHARACTERS_AT_ONCE or len(parts[-1]) == JOBS_AT_ONCE:
            parts.append([])
            size = 0
        parts[-1].append(job)
        size += more
    return parts


def _taken(answer: Mapping[str, Any], first: int = 0) -> Taken:
    return Taken(first + answer["refused"] - 1, answer["by"])


class Batch:
    """A call of `defer` that is brought in parts.

    Args:
        call: Calls the server.
        parts: The jobs.
    """

    def __init__(self, call: Call, parts: Sequence[Sequence[Job]]) -> None:
        self._call = call
        self._parts = parts
        self._id = uuid4().hex
        jobs = [job for part in parts for job in part]
        self._ids = [str(job["run_id"]) for job in jobs]
        self._kept = [str(job["run_id"]) for job in jobs if job["on_conflict"] is Conflict.KEEP and "key" in job]
        # Only where a key that is taken refuses all, the keys must be free until they are used.
        self._reserves = any(job["on_conflict"] is Conflict.RAISE and "key" in job for job in jobs) or None

    async def bring(self) -> Taken | None:
        """Bring the parts; return the job whose key is taken, if any. Then, and after an error, nothing is left."""
        first = 0
        for number, part in enumerate(self._parts, 1):
            text = json.dumps(part, ensure_ascii=False)
            try:
                answer = await self._call("stage", **self._named(), number=number, part=text)
            except BackendError as error:
                await self._take_back()
                raise type(error)(f"{error}; nothing is stored") from error
            if answer:
                await self._take_back()
                return _taken(answer, first)
            first += len(part)
        return None

    async def accept(self) -> bool:
        """Let all be stored; return False if others have taken a key. Then nothing is left."""
        is_accepted = bool(await self._call("accept", **self._named(), parts=len(self._parts)))
        if not is_accepted:
            await self._take_back()
        return is_accepted

    async def store(self) -> Sequence[str]:
        """Store what is accepted; return for each the id of the job that stands for it."""
        try:
            while await self._call("store", **self._named()):
                pass
            stand_for = await self._stand_for()
        except BackendError:
            return self._ids  # the polls of others will store them
        return [stand_for.get(job, job) for job in self._ids]

    async def _stand_for(self) -> dict[str, str]:
        others: dict[str, str] = {}
        for start in range(0, len(self._kept), IDS_AT_ONCE):
            asked = self._kept[start : start + IDS_AT_ONCE]
            answer = await self._call("stand_for", **self._named(), ids=asked)
            others |= {job: other for job, other in zip(asked, answer, strict=True) if other}
        return others

    async def _take_back(self) -> None:
        """Delete what was brought; what is missed, the server forgets by itself."""
        with suppress(BackendError):
            for number in range(1, len(self._parts) + 1):
                if not await self._call("unstage", **self._named(), number=number):
                    return

    def _named(self) -> dict[str, object]:
        return {"batch": self._id, "reserves": self._reserves}
