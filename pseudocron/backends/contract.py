"""The contract of a backend: all that a store has to do for pseudocron, in 22 verbs.

This docstring and those of the verbs are the law. A backend fulfils them and adds no rules of its own. The conformance
suite in `pseudocron.testing` checks them.

**Verbs**

- Every verb is atomic: if a process dies in the middle of it, all of it has happened or nothing has. When a verb has
  returned, its effect is as durable as the backend is.
- The verbs of all processes that share a store happen one after another, in one order that all of them see.
- The clock of the store decides whether a slot has come and whether a lease is over. Callers propose by `ahead`.
- A verb that can't do its work raises `BackendError`, and has then changed nothing.
- `renew` and `defer_blocking` block and may be called from any thread. Every other verb is a coroutine that never
  blocks its event loop, and may be called from any event loop. The verbs need an open backend. It may be opened again
  after `close`.
- Everything in a store belongs to one application name, which is given where the backend is made.

**The life of a run**

    pending -> running -> succeeded | failed | timed_out | interrupted | lost
    pending -> cancelled | replaced | expired
    running -> pending                          a retry, a lost run that is recovered, a run that is handed back

A slot above the mark has no row until it is claimed: its run begins as `running`. How an attempt ends is decided by
`End`, and by what the store knows of the run (`rules.ended`, `rules.lost`). Every write of a result is checked against
the fence of its claim. A pending run holds no lease and no capacity. A lease may outlive the record of its attempt
(`End.goes_on`). Such a *kept* lease is living as any other: it counts for the key, for `max_instances` and for the next
claim of the same run.

The store holds a pending run back while

- its task has as many living jobs as its limit, or its cron as many living runs as `max_instances`: for a claim as the
  claiming process says, for the gate as the latest poll has said that named it;
- a living job of the same task has its key;
- its cron is paused;
- the lease of its own earlier attempt is still living.

**Which schedule of a cron counts**

At any moment one schedule of a cron counts: the stored one, from `CronState.since` on. A plan is done only if it goes
on with that schedule or takes over from it. Processes decide whether theirs takes over: by `replaced`, by how long
others have polled since the cron was `seen`, and by an edit that they have seen. A process that leaves a cron to a
newer schedule does not name it in `Take`, so `seen` is when the version last polled whose schedule counts.

**The law of the gate**

The gate says when a process should poll next. It is an economy, and never what makes a run unique. *Earliest* is the
least of

1. the due time of each pending run that the store does not hold back, of a task or cron that is in use. A run that has
   expired counts, as that is to be recorded;
2. the end of each living lease, or the moment at which the store can know that its process is gone;
3. the `next` of each unpaused cron in use; of a cron with slots above its mark that `max_instances` holds back,
   nothing;
4. the last poll + `CRON_MAX_TIME`, the smallest of those in use.

A `CRON_MAX_TIME` is *in use* if a poll has named it within the last 2 x as long. A task or cron is if a poll has named
it within 2 x the largest `CRON_MAX_TIME` in use; a task also if `defer` has named it since. A store writes a new name
at once, and else at most once in half a `CRON_MAX_TIME`.

    After any verb has returned, and after a crash at any point of it, the gate turns stale no later than *earliest*.

What the store holds back does not count. The verb that takes the obstacle away (`finish`, `release`, `cancel`, `pause`,
`reset`, the end of a lease) makes it count, and brings the gate forward itself. What a process can't take for want of
capacity, or because it has no such task, does count: the gate stays stale for the others. Verbs other than `poll`
only bring the gate forward, to the due time of what they have made due, or to the end of a lease that they have
granted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.model import Run, Skip, State
    from pseudocron.backends.questions import (
        Claim,
        End,
        Finished,
        Manual,
        NewJob,
        Poll,
        Polled,
        Refusal,
        States,
        Take,
        Where,
    )


class Backend(ABC):
    """The gate, the crons and the runs of one application, shared by every process that names the same store."""

    durable: ClassVar[bool]
    """Whether what a verb has stored survives the death of every process."""

    has_own_clock: ClassVar[bool] = False
    """Whether the clock of the store may be another than that of this host; see `ahead`."""

    cron_max_time: float = 60.0
    """The `CRON_MAX_TIME` of this process in seconds; set again when a changed configuration is read."""

    @property
    def ahead(self) -> timedelta:
        """How far the store's clock is ahead of this host's, as last read; zero if they are the same clock."""
        return timedelta()

    @abstractmethod
    async def open(self) -> None:
        """Connect to the store, and make it if there is none. Does nothing if it is open.

        Raises:
            BackendError: The store can't be read, or is of another version. It is left alone.
        """

    @abstractmethod
    async def close(self) -> None:
        """Disconnect from the store. Does nothing if it is closed."""

    async def advice(self) -> Sequence[str]:
        """Return what endangers these promises in how the store is kept, a line each, with the fix."""
        return ()

    @abstractmethod
    async def stale_in(self) -> float:
        """Return the seconds until the gate turns stale; 0 if it is.

        The gate is stale if no process has ever polled, if its date has come, and if it is dated later than
        `CRON_MAX_TIME` from now, as after a step of the clock.
        """

    @abstractmethod
    async def states(self, names: Collection[str]) -> States:
        """Return what the store knows of these crons. Writes nothing, also for crons that it has never seen."""

    @abstractmethod
    async def poll(self, poll: Poll) -> Polled | None:
        """Enter the gate, and do what is due. At most one write transaction; none if nothing changes.

        In this order:

        1. If the gate is fresh and `force` is not set, or another process polls at this moment, return None. Else date
           the gate so that it turns stale in two seconds, in case this process dies in the poll.
        2. Renew the living leases of `holding`.
        3. End the leases that are over. A kept lease just ends. Any other run is lost (`rules.lost`). A store that
           knows that the process of a lease is gone shortens the lease to a second from now, for the children of that
           process.
        4. Name the tasks and crons of `take`, those that rest too, and `cron_max_time`, as in use.
        5. For each plan that was computed from the stored mark, `since` and schedule (`rules.is_current`): store
           `since` if there is none, or `counts_from`; store its schedule. If it `replaces` another one, add that to
           `replaced` (`rules.replaced`), and count it in `takeovers`. Record its skips, and let the mark grow to the
           last of them. A skip of the same reason as the newest one of the cron is added to that one, unless a run
           of the cron has begun since. A `clock_back` skip leaves the mark as it is, sets `back`, and is recorded
           only if it is above the `back` before.
        6. Claim the slots of these plans, the oldest first, whatever their cron, unless they rest, and while there
           is capacity for slots. A slot that is later than the store's clock is refused as `early`. A slot of a paused
           cron is refused as `paused`, and skipped. A slot of a cron with `max_instances` runs that count (those that
           are living; pending ones that are `at_least_once`, or of a plan that did not coalesce) is refused as
           `overlap`: a coalescing cron skips it, any other cron keeps it above the mark. Else it is claimed: the mark
           grows to it, its run is stored as running, with a fence that is higher than any before it of this cron. If
           the plan coalesces, pending runs of this cron that are not `at_least_once` are replaced.
        7. Store `next` of these crons: the plan's, or an earlier one if slots remain above the mark, so that they
           count as the law says.
        8. Claim pending runs of the names of `take` that do not rest, and that the store does not hold back, while
           there is capacity for their kind: those of slots first, the longest due first; then jobs, of the highest
           priority first, then the longest due, then the first stored. A run whose `expires` is past ends as
           `expired` instead. The cost grows neither with the runs that are not due nor with those that are: a poll
           handles at most 1,000 expired runs, and the gate stays stale for the rest.
        9. Date the gate by *earliest*. Of a plan that was outdated, the cron is due: `fresh_for` is 0.

        With a claim its lease of `take.lease` seconds begins.
        """

    @abstractmethod
    async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
        """Record how attempts ended, end their leases, and claim the next pending runs, in one transaction.

        An end whose claim no longer holds the run changes nothing: it was finished before, is lost, or was claimed by
        another process. A claim holds its run until then, also if its lease is over. Of two ends of one claim the first
        counts. See `rules.ended` for what becomes of the run. Of ended runs of a cron the newest `keep` are kept.
        The ends are kept even if `take` fails.

        Args:
            ends: How the attempts ended.
            take: What the process may claim, as in step 8 of `poll`; None to claim nothing.
        """

    @abstractmethod
    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        """Let the leases of these claims end `lease` seconds from now.

        Returns:
            The ids of those runs whose leases are living. A lease that is over, but that no poll has ended, is living.
        """

    @abstractmethod
    async def release(self, claims: Sequence[Claim]) -> None:
        """End leases that `finish` has kept. The lease of an attempt that is not finished stays."""

    @abstractmethod
    async def defer(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """Store jobs, all of them or none.

        A job whose id is stored already, in whatever state, is not stored again. Of two jobs of one call with the same
        key the later is the newer. A pending job with the key that has expired is first recorded as `expired`, so that
        the key is free.

        Returns:
            For each the id of the job that stands for it: its own, or with `Conflict.KEEP` that of the pending job.

        Raises:
            JobConflictError: A key is taken and `on_conflict` is `raise`. Names the task and the key.
        """

    @abstractmethod
    def defer_blocking(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """Store jobs as `defer` does; blocks."""

    @abstractmethod
    async def start(self, manual: Manual) -> Claim | Refusal:
        """Claim a manual run, also of a paused cron. Its slot is the moment of the claim. The mark stays.

        Returns:
            The claim, or `overlap` if `max_instances` runs of the cron count. That is not recorded.
        """

    @abstractmethod
    async def cancel(self, *, run_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """Cancel one run by its id, or the pending and running jobs with this task and key.

        A pending run ends as `cancelled`. A running one is marked: unless this attempt succeeds, the run ends as
        `cancelled`.

        Returns:
            Whether one was still pending, so that it will never start.
        """

    @abstractmethod
    async def retry(self, run_id: str) -> bool:
        """Make a `failed` or `timed_out` job pending again, due now, whenever it expires; with all counts at 0.

        Returns:
            False, and nothing changed, if it is no such job, or if another pending job of its task has its key. A
            pending one that has expired is first recorded as `expired`.
        """

    @abstractmethod
    async def pause(self, name: str, paused: bool) -> None:  # noqa: FBT001 - as in the table of crons
        """Refuse the slots of a cron from now on, or no longer. The store need not have seen the cron."""

    @abstractmethod
    async def reset(self, name: str, mark: datetime) -> None:
        """Set the mark of a cron, up or down, and `since` and `back` with it; its `next` is now. Pending runs stay."""

    @abstractmethod
    async def purge(self, keep: Mapping[State, timedelta], limit: int = 1000) -> int:
        """Delete up to `limit` jobs that ended longer ago than `keep` says, but no kept lease; return how many."""

    @abstractmethod
    async def run(self, run_id: str) -> Run | None:
        """Return a run, or None if there is none of this id."""

    @abstractmethod
    async def runs(
        self, where: Where, limit: int = 50, before: str | None = None, *, brief: bool = False
    ) -> Sequence[Run]:
        """Return runs, the last stored first. The cost does not grow with the number of runs.

        Args:
            where: Which ones.
            limit: How many at most.
            before: Only those stored before this run, to read page by page. There are none if it is not stored.
            brief: Without `error` and `output`, and with the first 200 to 1,000 characters of `arguments`.
        """

    @abstractmethod
    async def timelines(
        self, names: Collection[str] | None = None, limit: int = 20
    ) -> Mapping[str, Sequence[Run | Skip]]:
        """Return the newest runs and skips of each of these crons (None: of all crons), newest first.

        Runs come without `error` and `output` if more than one cron is asked for.
        """

    @abstractmethod
    async def counts(self, at_most: int = 10_000) -> Mapping[State, int]:
        """Return how many jobs are in each state; none is counted beyond `at_most`, so that the cost is bounded."""

    @abstractmethod
    async def waiting(self) -> Mapping[str, datetime]:
        """Return the names of the tasks that have pending jobs, each with when the job was due that starts first.

        The cost does not grow with the number of jobs.
        """
