"""The verbs that list runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pseudocron.backends.model import Kind, State
from pseudocron.backends.redis.codec import instant, run_of, skip_of
from pseudocron.backends.redis.schema import AT_MOST
from pseudocron.backends.redis.verbs import NO_TARGETS, Verbs, reading

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.model import Run, Skip
    from pseudocron.backends.questions import Where

RUNS_AT_ONCE = 100
"""How many runs are read in one call: each may hold 128 KiB of text."""

CRONS_AT_ONCE = 50
"""How many timelines are read in one call."""


class Runs(Verbs):
    """The verbs that read runs for people."""

    @reading
    async def run(self, run_id: str) -> Run | None:
        """See `Backend.run`."""
        answer = await self._call("run", run_id=run_id)
        return run_of(answer) if answer else None

    @reading
    async def runs(self, where: Where, limit: int = 50, before: str | None = None) -> Sequence[Run]:
        """See `Backend.runs`; many are read some at a time, and may change between the calls."""
        below: str | None = "0"
        if before is not None:
            below = await self._call("place", run_id=before)
        found: list[Run] = []
        question = _question(where)
        while below is not None and len(found) < limit:
            answer = await self._call(
                "runs",
                NO_TARGETS,
                **question,
                below=int(below) or None,
                limit=min(limit - len(found), RUNS_AT_ONCE),
                scan=AT_MOST,
            )
            found += map(run_of, answer["runs"])
            below = answer.get("below")
        return found

    @reading
    async def timelines(
        self, names: Collection[str] | None = None, limit: int = 20
    ) -> Mapping[str, Sequence[Run | Skip]]:
        """See `Backend.timelines`; those of many crons are read some at a time."""
        every = sorted(await self._call("crons")) if names is None else list(names)
        found: dict[str, Sequence[Run | Skip]] = {}
        for start in range(0, len(every), CRONS_AT_ONCE):
            some = every[start : start + CRONS_AT_ONCE]
            answer = await self._call("timelines", names=some, limit=limit, is_brief=len(every) > 1)
            found |= {name: _timeline(name, read, limit) for name, read in zip(some, answer, strict=True)}
        return found

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
    """Return the conditions, and in which lists the runs are that may fulfil them."""
    states, kinds = set(where.states or State), set(where.kinds or Kind)
    lists = [f"jobs:{state}" for state in states if Kind.JOB in kinds]
    if kinds - {Kind.JOB}:
        lists += [f"lines:{where.name}"] if where.name else [f"crons:{state}" for state in states]
    return {
        "lists": lists,
        "states": dict.fromkeys(states, True),
        "kinds": dict.fromkeys(kinds, True),
        "name": where.name,
        "key": where.key,
        "is_kept": where.is_kept or None,
    }


def _timeline(name: str, read: Mapping[str, Any], limit: int) -> list[Run | Skip]:
    """Return runs and skips, the last stored first."""
    entries: list[tuple[int, Run | Skip]] = [(int(run["place"]), run_of(run)) for run in read["runs"]]
    skips = map(json.loads, read["skips"])
    entries += [(int(skip["place"]), skip_of(name, skip)) for skip in skips]
    return [entry for _, entry in sorted(entries, key=lambda one: -one[0])][:limit]
