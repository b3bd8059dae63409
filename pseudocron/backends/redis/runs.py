"""The verbs that list runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pseudocron.backends.legible import legible
from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Where
from pseudocron.backends.redis.codec import instant, run_of, skip_of
from pseudocron.backends.redis.verbs import NO_TARGETS, Verbs, reading

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.model import Run, Skip

RUNS_AT_ONCE, CHARACTERS_AT_ONCE, SCANNED_AT_ONCE = 60, 150_000, 300
"""Of one call: how many runs it reads, how much text, and how many it passes over that are not asked for."""

BRIEF_AT_ONCE = 100
"""How many runs the timelines of one call have."""


class Runs(Verbs):
    """The verbs that read runs for people."""

    @reading
    async def run(self, run_id: str) -> Run | None:
        """See `Backend.run`."""
        answer = await self._call("run", run_id=run_id)
        return run_of(answer) if answer else None

    @reading
    async def runs(
        self, where: Where, limit: int = 50, before: str | None = None, *, brief: bool = False
    ) -> Sequence[Run]:
        """See `Backend.runs`; many are read some at a time, and may change between the calls."""
        below: str | None = "0"
        if before is not None:
            below = await self._call("place", run_id=before)
        return self._legible(run_of, await self._read(where, limit, below, brief=brief))

    async def _read(self, where: Where, limit: int, below: str | None = "0", *, brief: bool) -> list[Any]:
        found: list[Any] = []
        question = _question(where) | {"scan": SCANNED_AT_ONCE, "size": CHARACTERS_AT_ONCE, "is_brief": brief or None}
        while below is not None and len(found) < limit:
            most = min(limit - len(found), RUNS_AT_ONCE)
            answer = await self._call("runs", NO_TARGETS, **question, below=int(below) or None, limit=most)
            found += answer["runs"]
            below = answer.get("below")
        return found

    @reading
    async def timelines(
        self, names: Collection[str] | None = None, limit: int = 20
    ) -> Mapping[str, Sequence[Run | Skip]]:
        """See `Backend.timelines`; those of many crons are read some at a time."""
        every = sorted(await self._call("crons")) if names is None else list(names)
        if len(every) == 1:
            return {every[0]: await self._timeline_of(every[0], limit)}
        found: dict[str, Sequence[Run | Skip]] = {}
        at_once = max(1, BRIEF_AT_ONCE // max(1, limit))
        for start in range(0, len(every), at_once):
            some = every[start : start + at_once]
            answer = await self._call("timelines", names=some, limit=limit)
            found |= {name: self._timeline(name, read, limit) for name, read in zip(some, answer, strict=True)}
        return found

    async def _timeline_of(self, name: str, limit: int) -> Sequence[Run | Skip]:
        """Return the timeline of one cron, with what its runs wrote, which is long."""
        runs = await self._read(Where(kinds=[Kind.SLOT, Kind.MANUAL], name=name), limit, brief=False)
        (answer,) = await self._call("timelines", names=[name], limit=limit, has_runs=False)
        return self._timeline(name, answer | {"runs": runs}, limit)

    def _timeline(self, name: str, read: Mapping[str, Any], limit: int) -> list[Run | Skip]:
        """Return runs and skips, the last stored first."""
        entries: list[tuple[int, Run | Skip]] = []
        entries += self._legible(lambda run: (int(run["place"]), run_of(run)), read["runs"])
        entries += self._legible(lambda skip: _skip(name, skip), read["skips"])
        return [entry for _, entry in sorted(entries, key=lambda one: -one[0])][:limit]

    @reading
    async def counts(self, at_most: int = 10_000) -> Mapping[State, int]:
        """See `Backend.counts`."""
        counts = await self._call("counts", states=list(State))
        return {state: min(count, at_most) for state, count in zip(State, counts, strict=True)}

    @reading
    async def waiting(self) -> Mapping[str, datetime]:
        """See `Backend.waiting`."""
        return {name: instant(due) for name, due in await self._call("waiting")}


def _question(where: Where) -> dict[str, object]:
    """Return the conditions."""
    return {
        "states": dict.fromkeys(set(where.states or State), True),
        "kinds": dict.fromkeys(set(where.kinds or Kind), True),
        "name": where.name,
        "key": where.key,
        "is_kept": where.is_kept or None,
    }


@legible("a skip")
def _skip(name: str, stored: str) -> tuple[int, Skip]:
    read = json.loads(stored)
    return int(read["place"]), skip_of(name, read)
