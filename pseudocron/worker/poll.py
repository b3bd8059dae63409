"""The poll of a process: asks what is due, claims what there is capacity for, and starts it."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING

from pseudocron.backends.model import CronState, Kind
from pseudocron.backends.questions import Poll
from pseudocron.errors import BackendError
from pseudocron.hooks.events import EventKind, lost_as, of_lost, of_skip
from pseudocron.hooks.metrics import Metrics
from pseudocron.log import logger
from pseudocron.polling import READ_AGAIN, NoPoll, PollReason, PollResult, Report
from pseudocron.worker.cache import DueCache
from pseudocron.worker.delays import Delays
from pseudocron.worker.diagnostics import Diagnostics
from pseudocron.worker.due import Absence, is_stored
from pseudocron.worker.purging import Purger
from pseudocron.worker.run import Run
from pseudocron.worker.skips import skips_of, warn_of_the_clock
from pseudocron.worker.versions import Others

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Skip
    from pseudocron.backends.questions import Plan, Polled
    from pseudocron.config.source import Source
    from pseudocron.crons import Cron, Crons
    from pseudocron.host import Host
    from pseudocron.worker.runs import Runs

ENTER_AGAIN, ENTER_AT_MOST = 0.05, 3
"""Seconds after which a stale gate that another process enters is read again, and how often that is tried."""

REFILL_FOR = 1.0
"""Seconds after a poll in which runs that end are followed by others in the same transaction; then a poll is due."""

PLANNED_AT_ONCE = 20
"""Crons that are planned on the event loop; more go to a thread, and those whose stored schedule is to be read."""

NO_STATES: Mapping[str, CronState] = {}

REPLANNED = 2
"""How often a poll plans again what other processes have changed in between."""


class Poller:
    """Polls for one configuration on one event loop.

    Args:
        source: Where the configuration comes from, loaded.
        backend: The store, open.
        host: Time, sleep, chance and threads, by the store's clock.
        runs: The runs of the process.
    """

    def __init__(self, source: Source, backend: Backend, host: Host, runs: Runs) -> None:
        self.runs = runs
        self.backend = backend
        self.delays = Delays()
        self._source = source
        self._crons: Crons | None = None  # of the last poll
        self._host = host
        self._cache = DueCache()
        self._diagnostics = Diagnostics(backend, host)
        self._metrics = Metrics(backend, host)
        self._purger = Purger(backend, host)
        self._absence = Absence()
        self._others = Others()
        self._pace = -inf
        self._named = host.monotonic()

    async def poll(self, reasons: AbstractSet[PollReason]) -> PollResult:
        """Poll if the gate is stale; because of `TICK` in any case.

        A process without free capacity does not enter: others may have it.

        Args:
            reasons: Why.
        """
        if PollReason.TICK in reasons:
            return self._polled(await self.poll_now(await self._reload(), force=True))
        if self.runs.pool.is_full:
            self.delays.capacity(self._host.now())
            self.runs.left = True  # perhaps: what has become due since is claimed as soon as a run ends
            return self._none(NoPoll.NO_CAPACITY, READ_AGAIN)
        if (pause := self._pause(reasons)) > 0:
            return self._none(NoPoll.NOTHING_DUE, pause)
        try:
            if PollReason.DEFERRED in reasons and (report := await self.poll_now(await self._reload())) is not None:
                return self._polled(report)  # the job has brought the gate forward: there is no need to read it
            return await self._poll_if_stale()
        except BackendError:
            now = self._host.now()
            self._absence = self._absence._replace(away=self._absence.away or now)
            self.delays.store(now)
            self._observe(NoPoll.BACKEND_DOWN)
            raise

    async def _reload(self) -> Crons:
        return await self._host.hop(self._source.reload) if self._source.may_change else self._source.load()

    def _pause(self, reasons: AbstractSet[PollReason]) -> float:
        """Return for how many seconds what others are to take keeps this process from polling again."""
        if reasons & {PollReason.DEFERRED, PollReason.URL} or (self.runs.left and PollReason.CAPACITY in reasons):
            return 0.0
        return self._pace - self._host.monotonic()

    async def _poll_if_stale(self) -> PollResult:
        """Poll, or return why not.

        A gate that another process enters at that moment is read again: what asks for this poll may be the last for
        long, as a run that has ended is.
        """
        self.backend.cron_max_time = self._source.load().settings.cron_max_time
        why = NoPoll.NOTHING_DUE
        for _ in range(ENTER_AT_MOST):
            fresh_for = await self.backend.stale_in()
            is_forgotten = self._is_forgotten()
            if fresh_for > 0 and not is_forgotten:
                self.delays.gate(self._host.now(), min(fresh_for, READ_AGAIN))
                return self._none(why, min(fresh_for, READ_AGAIN))
            report = await self.poll_now(await self._reload(), force=is_forgotten)
            if report is not None:
                return self._polled(report)
            why = NoPoll.TAKEN
            await self._host.sleep(ENTER_AGAIN)
        return self._none(why, ENTER_AGAIN)

    def _is_forgotten(self) -> bool:
        """Return whether this process has not polled for `CRON_MAX_TIME`, so that its names may be in use no longer.

        Where others always come first that have other crons and tasks, nothing of this process would ever count.
        """
        return self._host.monotonic() - self._named >= self.backend.cron_max_time

    def _polled(self, report: Report | None) -> PollResult:
        if report is None:
            return self._none(NoPoll.TAKEN, ENTER_AGAIN)
        self._observe("polled")
        again = min(report.fresh_for, READ_AGAIN)
        self._pace = -inf
        if report.fresh_for <= 0 and not self._has_come_due():
            again = READ_AGAIN  # the gate is stale for others: to poll at once would be in vain
            self._pace = self._host.monotonic() + READ_AGAIN
        self.delays.gate(self._host.now(), again)
        return PollResult(report, again)

    def _has_come_due(self) -> bool:
        """Return whether a cron has become due since the poll has planned it."""
        upcoming = self._cache.next()
        return not self.runs.left and upcoming is not None and upcoming <= self._host.now()

    def _none(self, why: NoPoll, again: float) -> PollResult:
        self._observe(why)
        return PollResult(why, again)

    def _observe(self, result: str) -> None:
        hooks = (self._source.load() if self._crons is None else self._crons)._hooks
        if hooks.polls:
            self._metrics.polled(hooks.polls, result)

    # What follows when this process polls

    async def poll_now(self, crons: Crons, *, force: bool = False) -> Report | None:
        """Poll; return None if the gate is fresh after all, or another process polls.

        Args:
            crons: The configuration.
            force: Poll although the gate is fresh.
        """
        self._crons = crons
        self.backend.cron_max_time = crons.settings.cron_max_time
        now = self._host.now()
        self.delays.poll(now)
        due, states = self._cache.due(crons, now), NO_STATES
        if due:
            states = await self._states(due)
        report: Report | None = None
        for attempt in range(1 + REPLANNED):
            plans = await self._plan(crons, due, states) if due else ()
            polled, started = await self._enter(crons, plans, force=force or attempt > 0)
            if polled is None:
                break
            if due or polled.outdated:
                self._cache.applied(crons, plans, states, polled)
            if plans or polled.takeovers != self._cache.takeovers:
                self._cache.note_takeovers(plans, polled)
            self._cache.is_current = attempt == 0 and not polled.outdated
            report = self._report(crons, plans, polled, started, report or Report())
            if not polled.outdated:
                break
            states, due = polled.outdated, [crons[name] for name in polled.outdated if name in crons]
        if report is not None:
            self._absence = Absence(polled=now)
            await self._after(crons, report)
        return report

    async def _states(self, due: Sequence[Cron]) -> Mapping[str, CronState]:
        """Return the states of crons, read from the store unless what is remembered is current."""
        states: dict[str, CronState] = {}
        unknown = []
        for cron in due:
            if (state := self._cache.state(cron)) is None:
                unknown.append(cron.name)
            else:
                states[cron.name] = state
        if unknown:
            read = await self.backend.states(unknown)
            self._others = Others(read.polled, read.cron_max_time)
            states.update(read.crons)
        return states

    async def _plan(self, crons: Crons, due: Sequence[Cron], states: Mapping[str, CronState]) -> list[Plan]:
        now = self._host.now()  # read again: what others have claimed since must not seem to lie in the future
        is_quick = len(due) <= PLANNED_AT_ONCE
        for cron in due if is_quick else ():
            is_quick = is_quick and is_stored(cron, states[cron.name])
        if is_quick:
            plans = self._cache.plan(due, states, now, self._absence, self._others)
        else:
            plans = await self._host.hop(self._cache.plan, due, states, now, self._absence, self._others)
        for number, plan in enumerate(plans):
            if plan.slots:
                due_at = map(crons[plan.name]._wake, plan.slots)
                plans[number] = plan._replace(waited=list(map(self.delays.of, due_at)))
        return plans

    async def _enter(self, crons: Crons, plans: Sequence[Plan], *, force: bool) -> tuple[Polled | None, Sequence[Run]]:
        """Ask the store, and start what was claimed."""
        self.runs.aside = self._cache.versions.aside
        take, asked = self.runs.take(crons), self.runs.leases.asked()
        holding = self.runs.leases.holding()
        polled, started = None, list[Run]()
        try:
            polled = await self.backend.poll(Poll(take, plans, holding, force))
        finally:
            started = self.runs.start(take, polled.claims if polled else (), asked)
        if polled is not None:
            self._named = self._host.monotonic()
        return polled, started

    def _report(
        self, crons: Crons, plans: Sequence[Plan], polled: Polled, started: Sequence[Run], before: Report
    ) -> Report:
        skips: list[Skip] = []
        for plan in plans:
            if plan.name not in polled.outdated:
                skips += plan.skips
        if skips or polled.refused or polled.lost:
            self._notify(crons, polled, skips)
        return Report(
            started=(*before.started, *started),
            skips=(*before.skips, *skips),
            refused=(*before.refused, *polled.refused),
            fresh_for=polled.fresh_for,
            left=polled.left,
        )

    def _notify(self, crons: Crons, polled: Polled, skips: Sequence[Skip]) -> None:
        warn_of_the_clock(skips)
        for skip in (*skips, *skips_of(crons, polled.refused)):
            self.runs.dispatcher.dispatch(crons._hooks, EventKind.SKIPPED, partial(of_skip, skip, self.runs.name))
        for run in polled.lost:
            logger.error("%s: run %s of %s is lost: now %s", run.name, run.run_id, run.worker, run.state)
            hooks = crons._hooks if run.kind is Kind.JOB else crons._hooks_of(run.name)
            for kind in lost_as(run):
                self.runs.dispatcher.dispatch(hooks, kind, partial(of_lost, run))

    async def _after(self, crons: Crons, report: Report) -> None:
        now = self._host.now()
        self.runs.left = report.left
        if report.left:
            self.delays.capacity(now)
        upcoming = self._cache.next()
        seconds = REFILL_FOR if upcoming is None else min(REFILL_FOR, (upcoming - now).total_seconds())
        moment = self._host.monotonic()
        self.runs.refill_until = moment + seconds
        if moment >= self._diagnostics.again:
            await self._diagnostics.tell(crons.tasks)
        if crons._hooks.counts and moment >= self._metrics.again:
            await self._metrics.count(crons._hooks.counts)
        if moment >= self._purger.again:
            await self._purger.purge(crons)
