"""The verbs of the gate and of crons."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Any

from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Finished, Polled, Refusal, States
from pseudocron.backends.redis import batches
from pseudocron.backends.redis.codec import (
    claim_of,
    given,
    instant,
    micros,
    micros_at_most,
    micros_of,
    refused_of,
    run_of,
    seconds_of,
    state_of,
    waited_text,
)
from pseudocron.backends.redis.connection import Targets
from pseudocron.backends.redis.verbs import Verbs, reading
from pseudocron.truncation import kept

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.model import Skip
    from pseudocron.backends.questions import Claim, End, Manual, Plan, Poll, Take


class Slots(Verbs):
    """The verbs of the gate and of crons, and those that claim runs and record their ends."""

    _named: tuple[dict[str, int | None], dict[str, int], float, Targets] | None = None

    @reading
    async def stale_in(self) -> float:
        """See `Backend.stale_in`."""
        return seconds_of(await self._call("stale_in"))

    @reading
    async def states(self, names: Collection[str]) -> States:
        """See `Backend.states`."""
        asked = list(names)
        answer = await self._call("states", names=asked)
        states = {name: state_of(name, state) for name, state in zip(asked, answer["states"], strict=True)}
        polled = answer.get("polled")
        longest = seconds_of(answer["cron_max_time"])
        return States(self._server_time(), states, None if polled is None else instant(polled), longest)

    @reading
    async def poll(self, poll: Poll) -> Polled | None:
        """See `Backend.poll`."""
        expected, ago = self._expected_time() or (None, None)
        answer = await self._call(
            "poll",
            self._targets(poll.take),
            **_take(poll.take),
            expected=expected,
            ago=ago,
            plans=list(map(_plan, poll.plans)) or None,
            holding=list(map(held, poll.holding)) or None,
            force=poll.force or None,
        )
        if answer:
            self._note_steps()
        if answer and (batch := answer.get("batch")):
            await batches.store_left(self._call, batch)
        return self._polled(answer) if answer else None

    def _polled(self, answer: Mapping[str, Any]) -> Polled:
        self._tell(answer)
        return Polled(
            fresh_for=seconds_of(answer["fresh_for"]),
            claims=self._legible(claim_of, answer["claims"]),
            refused=list(map(refused_of, answer["refused"])),
            outdated={cron["name"]: state_of(cron["name"], cron["state"]) for cron in answer["outdated"]},
            lost=self._legible(run_of, answer["lost"]),
            dropped=self._legible(run_of, answer["dropped"]),
            left=answer["left"],
            takeovers=int(answer["takeovers"]),
        )

    @reading
    async def start(self, manual: Manual) -> Claim | Refusal:
        """See `Backend.start`."""
        answer = await self._call(
            "start",
            name=manual.name,
            worker=manual.worker,
            lease=micros_of(manual.lease),
            max_instances=manual.max_instances,
        )
        return Refusal(answer) if isinstance(answer, str) else claim_of(answer)

    @reading
    async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
        """See `Backend.finish`."""
        asked = list(map(_end, ends))
        if take is None:
            answer = await self._call("finish", ends=asked)
        else:
            answer = await self._call("finish", self._targets(take), **_take(take), ends=asked)
        self._tell(answer)
        return Finished(
            states=[State(state) if state else None for state in answer["states"]],
            fresh_for=seconds_of(answer["fresh_for"]),
            claims=self._legible(claim_of, answer["claims"]),
            dropped=self._legible(run_of, answer["dropped"]),
            left=answer["left"],
        )

    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        """See `Backend.renew`."""
        asked = list(map(held, claims))
        return set(self._call_blocking("renew", claims=asked, lease=micros_of(lease))) if asked else set()

    async def release(self, claims: Sequence[Claim]) -> None:
        """See `Backend.release`."""
        if claims:
            await self._call("release", claims=list(map(held, claims)))

    async def pause(self, name: str, paused: bool) -> None:  # noqa: FBT001 - as in the contract
        """See `Backend.pause`."""
        await self._call("pause", name=name, paused=paused)

    async def reset(self, name: str, mark: datetime) -> None:
        """See `Backend.reset`."""
        await self._call("reset", name=name, mark=micros_at_most(mark))

    def _targets(self, take: Take) -> Targets:
        """Return what the process may claim, as text; made once, as long as it is the same."""
        tasks, crons = dict(take.tasks), dict(take.crons)
        tasks.update({name: None for kind, name in take.resting if kind is Kind.JOB and name not in tasks})
        limits: dict[str, int | None] = {f"t:{name}": limit for name, limit in tasks.items()}
        if self._named is None or self._named[:3] != (tasks, crons, self.cron_max_time):
            limits |= {f"c:{name}": limit for name, limit in crons.items()}
            text = "".join(f"\0{target}\0{'' if limit is None else limit}" for target, limit in limits.items())
            digest = sha1(f"{self.cron_max_time}{text}".encode(), usedforsecurity=False).hexdigest()
            self._named = tasks, crons, self.cron_max_time, Targets(text, digest)
        return self._named[3]


def held(claim: Claim) -> dict[str, object]:
    """Return a claim, as the scripts take it."""
    return {"run_id": claim.run_id, "fence": claim.fence}


def _take(take: Take) -> dict[str, object]:
    return {
        "capacity": take.capacity._asdict(),
        "worker": take.worker,
        "lease": micros_of(take.lease),
        "resting": [f"{'t' if kind is Kind.JOB else 'c'}:{name}" for kind, name in take.resting] or None,
    }


def _plan(plan: Plan) -> dict[str, object]:
    return given(
        name=plan.name,
        mark=None if plan.mark is None else micros(plan.mark),
        since=micros(plan.since),
        slots=list(map(micros, plan.slots)) or None,
        skips=list(map(_skip, plan.skips)) or None,
        next=None if plan.next is None else micros_at_most(plan.next),
        coalesce=plan.coalesce,
        at_least_once=plan.at_least_once,
        waited=list(map(waited_text, plan.waited)) or None,
        schedule=plan.schedule,
        replaces=plan.replaces,
        counts_from=None if plan.counts_from is None else micros(plan.counts_from),
    )


def _skip(skip: Skip) -> dict[str, object]:
    return given(
        slot=micros(skip.slot),
        first=None if skip.first is None else micros(skip.first),
        slots=skip.slots,
        reason=skip.reason,
        since=None if skip.since is None else micros(skip.since),
        blockers=list(skip.blockers) or None,
    )


def _end(end: End) -> dict[str, object]:
    error = kept(end.error) or None
    return given(
        run_id=end.claim.run_id,
        fence=end.claim.fence,
        outcome=end.outcome,
        due=None if end.due is None else micros_at_most(end.due),
        counts=end.counts,
        error=error,
        line=error and error.strip().rsplit("\n", 1)[-1],
        output=kept(end.output),
        reason=end.reason,
        goes_on=end.goes_on or None,
        unfit=end.unfit or None,
    )
