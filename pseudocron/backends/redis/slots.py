"""The verbs of the gate and of crons."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Any, TypeAlias

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
from pseudocron.backends.redis.rounds import (
    ROUNDS,
    TARGETS_AT_ONCE,
    finished_of,
    left_of,
    parts_of,
    plans_in_parts,
    polled_of,
)
from pseudocron.backends.redis.schema import STARTED_AT_MOST
from pseudocron.backends.redis.verbs import Verbs, reading
from pseudocron.errors import BackendError
from pseudocron.truncation import kept

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.model import CronState, Skip
    from pseudocron.backends.questions import Claim, End, Manual, Plan, Poll, Take


_Named: TypeAlias = "tuple[Targets, Mapping[str, int | None]]"


class Slots(Verbs):
    """The verbs of the gate and of crons, and those that claim runs and record their ends."""

    _named: tuple[Mapping[str, int | None], Mapping[str, int], float, _Named] | None = None

    @reading
    async def stale_in(self) -> float:
        """See `Backend.stale_in`."""
        return seconds_of(await self._call("stale_in"))

    @reading
    async def states(self, names: Collection[str]) -> States:
        """See `Backend.states`; those of many crons are read some at a time."""
        states: dict[str, CronState] = {}
        for some in list(parts_of(list(names), TARGETS_AT_ONCE)) or [()]:
            answer = await self._call("states", names=some)
            states |= {name: state_of(name, state) for name, state in zip(some, answer["states"], strict=True)}
        polled = answer.get("polled")
        longest = seconds_of(answer["cron_max_time"])
        return States(self._server_time(), states, None if polled is None else instant(polled), longest)

    @reading
    async def poll(self, poll: Poll) -> Polled | None:
        """See `Backend.poll`; what one script may not do at once takes several calls."""
        polls: list[Polled] = []
        try:
            await self._poll_in_rounds(poll, polls)
        except BackendError:
            if not polls:
                raise
            polls[-1] = polls[-1]._replace(fresh_for=0.0, left=True)  # what was claimed is to be started
        return polled_of(polls) if polls else None

    async def _poll_in_rounds(self, poll: Poll, polls: list[Polled]) -> None:
        parts, further = plans_in_parts(poll.plans), ROUNDS
        while parts:
            plans = parts.pop(0)
            answer = await self._ask(poll, plans, polls, more_follows=bool(parts))
            if not answer:
                return
            if answer.get("is_unnamed"):
                await self._name(poll.take)
                parts.insert(0, plans)
                continue
            polls.append(self._polled(answer))
            if answer.get("batch"):
                await batches.store_left(self._call, answer["batch"])
            if answer.get("more") and not parts and further:
                further -= 1
                parts.append(())

    async def _ask(self, poll: Poll, plans: Sequence[Plan], before: Sequence[Polled], *, more_follows: bool) -> Any:
        """Return what the script has done of a poll, of which these calls have done a part before."""
        targets, limits = self._targets(poll.take)
        if more_follows:
            targets = Targets(_text({f"c:{plan.name}": limits.get(f"c:{plan.name}") for plan in plans}), targets.digest)
        expected, ago = self._expected_time() or (None, None)
        take = left_of(poll.take, [claim for one in before for claim in one.claims])
        answer = await self._call(
            "poll",
            targets,
            **_take(take),
            expected=expected,
            ago=ago,
            plans=list(map(_plan, plans)) or None,
            holding=None if before else list(map(held, poll.holding)) or None,
            force=poll.force or bool(before) or None,
            more_follows=more_follows or None,
            is_named_apart=len(limits) > TARGETS_AT_ONCE or None,
            has_outdated=any(one.outdated for one in before) or None,
        )
        if answer:
            self._note_steps()
        return answer

    async def _name(self, take: Take) -> None:
        """Name what the process may claim, which is much."""
        targets, limits = self._targets(take)
        oldest = None
        parts = list(parts_of(list(limits.items()), TARGETS_AT_ONCE))
        for number, part in enumerate(parts, 1):
            digest = targets.digest if number == len(parts) else None
            some = Targets(_text(dict(part)), "")
            answer = await self._call("name", some, oldest=oldest, digest=digest, lease=micros_of(take.lease))
            oldest = int(answer)

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
        """See `Backend.finish`; many take several calls."""
        *others, last = list(parts_of(ends, STARTED_AT_MOST)) or [()]
        done = [(await self._finish(some, None))[0] for some in others]
        finished, has_more = await self._finish(last, take)
        done.append(finished)
        for _ in range(ROUNDS):
            if take is None or not has_more:
                break
            rest = left_of(take, [claim for one in done for claim in one.claims])
            try:
                finished, has_more = await self._finish((), rest)
            except BackendError:  # the ends are recorded; the rest is claimed by the next poll
                break
            done.append(finished)
        return finished_of(done)

    async def _finish(self, ends: Sequence[End], take: Take | None) -> tuple[Finished, bool]:
        """Return what one script has done, and whether there is more to claim."""
        asked = list(map(_end, ends))
        if take is None:
            answer = await self._call("finish", ends=asked)
        else:
            answer = await self._call("finish", self._targets(take)[0], **_take(take), ends=asked)
        self._tell(answer)
        finished = Finished(
            states=[State(state) if state else None for state in answer["states"]],
            fresh_for=seconds_of(answer["fresh_for"]),
            claims=self._legible(claim_of, answer["claims"]),
            dropped=self._legible(run_of, answer["dropped"]),
            left=answer["left"],
        )
        return finished, bool(answer.get("more"))

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

    def _targets(self, take: Take) -> tuple[Targets, Mapping[str, int | None]]:
        """Return what the process may claim, as text and with the limits; made once, as long as it is the same."""
        tasks, crons = dict(take.tasks), dict(take.crons)
        tasks.update({name: None for kind, name in take.resting if kind is Kind.JOB and name not in tasks})
        if self._named is None or self._named[:3] != (tasks, crons, self.cron_max_time):
            limits: dict[str, int | None] = {f"t:{name}": limit for name, limit in tasks.items()}
            limits |= {f"c:{name}": limit for name, limit in crons.items()}
            text = _text(limits)
            digest = sha1(f"{self.cron_max_time}{text}".encode(), usedforsecurity=False).hexdigest()
            self._named = tasks, crons, self.cron_max_time, (Targets(text, digest), limits)
        return self._named[3]


def _text(limits: Mapping[str, int | None]) -> str:
    return "".join(f"\0{target}\0{'' if limit is None else limit}" for target, limit in limits.items())


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
