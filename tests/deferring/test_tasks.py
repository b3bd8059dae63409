"""Tasks: registered, called as before, and on which terms they are deferred."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from support import START, Clock

from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError, PseudoCronError, TargetError, UnknownTaskError
from pseudocron.executors.run_function import main as call_in_child
from pseudocron.jobs.tasks import Retry, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from pseudocron.backends.model import Run

LESSON_END = START + timedelta(hours=1)
NAIVE = datetime(2024, 5, 1)  # noqa: DTZ001 - what is refused


def crons_of(clock: Clock) -> Crons:
    crons = Crons(backend="memory:")
    crons._connect(clock.host)
    return crons


def greet(name: str, day: datetime | None = None) -> str:
    return f"hello {name}"


async def agreet(name: str) -> str:
    return f"hello {name}"


def generate() -> Iterator[int]:
    yield 1


def stored(task: Task[..., Any], *args: Any, **terms: Any) -> Run:
    """A job that was deferred on some terms, as the store has it."""

    async def main() -> Run:
        handle = await task.options(**terms).defer(*args or ("Ada",))
        job = await task._manager.job(handle.id)
        assert job is not None
        return job

    return asyncio.run(main())


# Registering


def test_a_task_is_called_as_the_function_was() -> None:
    crons = Crons()
    task, atask = crons.task(greet), crons.task(agreet)
    assert task("Ada") == "hello Ada"
    assert asyncio.run(atask(name="Ada")) == "hello Ada"
    assert (task.__name__, task.__doc__, task.__module__) == (greet.__name__, greet.__doc__, __name__)  # type: ignore[attr-defined]
    assert repr(task) == "<Task greet>"


def test_what_is_not_said_of_a_task_is_the_default() -> None:
    crons = Crons()

    @crons.task
    def plain() -> None: ...

    @crons.task()
    async def empty() -> None: ...

    assert list(crons.tasks) == ["plain", "empty"]
    for task in crons.tasks.values():
        said = (task.retries, task.timeout, task.retry_for, task.max_instances, task.process)
        assert said == (3, 1000.0, (Exception,), None, False)
        assert crons._task_named(task.name) is task
    assert crons.tasks["plain"].target.call is plain.function
    assert empty.target.is_async


def test_what_is_said_of_a_task_counts() -> None:
    options: dict[str, Any] = {"retries": 0, "timeout": None, "max_instances": 2, "executor": "thread"}
    task = Crons().task("welcome", retry_for=OSError, **options)(greet)
    said = (task.name, task.retries, task.timeout, task.retry_for, task.max_instances)
    assert said == ("welcome", 0, None, (OSError,), 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timout": 1}, "'greet': unknown option 'timout', did you mean 'timeout'?"),
        ({"retries": -1}, "'greet': retries: -1: must be a whole number from 0 to 1000000"),
        ({"timeout": 0}, "'greet': timeout: 0: must be a number of seconds above 0, or None"),
        ({"retry_for": "all"}, "'greet': retry_for: 'all': must be a type of exceptions, or a tuple of them"),
        ({"retry_for": (OSError, 5)}, "'greet': retry_for: (<class 'OSError'>, 5): must be a type of exceptions"),
        ({"max_instances": 0}, "'greet': max_instances: 0: must be a whole number from 1 to 1000000, or None"),
        ({"executor": "proces"}, "'greet': executor: 'proces': must be 'async' or 'thread' or 'process', did you mean"),
        ({"name": "a\nb"}, "'a\\nb': a name must hold no control characters"),
        ({"name": "x" * 201}, f"'{'x' * 76}...: a name must be text of 1 to 200 characters"),
    ],
)
def test_a_wrong_option_is_said_with_its_task_and_registers_nothing(options: Any, words: str) -> None:
    crons = Crons()
    with pytest.raises(ConfigError) as caught:
        crons.task(**options)(greet)
    assert str(caught.value).startswith(words)
    assert not crons.tasks


def test_a_name_that_is_taken_is_said_with_both_functions() -> None:
    crons = Crons()
    crons.task("mail")(greet)
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    with pytest.raises(ConfigError) as caught:
        crons.task("mail")(agreet)
    place = f"already defined at {__file__}:{line} for deferring.test_tasks:greet"
    assert str(caught.value) == f"'mail': {place}, give deferring.test_tasks:agreet another name"
    assert crons.tasks["mail"].function is greet


def without_arguments() -> str:
    self = ["a local variable"]
    return self[0]


def test_a_function_whose_first_variable_is_called_self_is_no_method() -> None:
    assert Crons().task(without_arguments)() == "a local variable"


class Mailer:
    def send(self, name: str) -> str:
        return f"hello {name}"


@pytest.mark.parametrize("thing", [generate, 5, Mailer.send])
def test_what_is_no_function_or_yields_is_no_task(thing: Any) -> None:
    with pytest.raises(PseudoCronError, match=r"^'thing': .*(must not yield|must be a function)") as caught:
        Crons().task("thing")(thing)
    assert isinstance(caught.value, TargetError | ConfigError)


def test_a_method_of_an_object_is_a_task() -> None:
    assert stored(crons_of(Clock()).task("send")(Mailer().send)).arguments == '{"name":"Ada"}'


def test_a_partial_has_no_name_of_its_own_and_takes_one() -> None:
    crons = Crons()
    with pytest.raises(ConfigError, match="a name must be text"):
        crons.task(partial(greet, "Ada"))
    assert crons.task("ada")(partial(greet, "Ada"))() == "hello Ada"


def test_a_task_that_is_not_there_is_said_with_the_one_that_was_meant() -> None:
    crons = Crons()
    crons.task(greet)
    with pytest.raises(UnknownTaskError, match=r"there is no task 'gret', did you mean 'greet'?"):
        crons._task_named("gret")


@pytest.mark.parametrize("ask", [lambda crons: crons.tasks, lambda crons: open_source(crons).load()])
def test_a_task_that_no_child_can_run_is_found_at_the_first_read(ask: Callable[[Crons], Any]) -> None:
    crons = Crons(backend="memory:")

    @crons.task(executor="process")
    def local() -> None: ...

    for question in (ask, lambda _: local.defer_sync()):
        with pytest.raises(ConfigError, match=r"no child process can import .*local"):
            question(crons)


def test_a_task_may_be_a_cron_as_well() -> None:
    crons = Crons()
    task = crons.every(60, args=["Ada"])(crons.task("welcome")(agreet))
    target = crons["agreet"].target
    assert isinstance(task, Task)
    assert getattr(target, "call", None) is agreet
    assert getattr(target, "is_async", False)


# In a child process

SHOP = """
from datetime import datetime
from pseudocron import Crons

crons = Crons(backend="memory:")

@crons.task(executor="process")
async def note(when: datetime, *more: datetime) -> None:
    print(when.year, [one.year for one in more])
"""


def test_a_task_in_a_child_process_gets_what_its_annotations_say(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noting.py").write_text(SHOP, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    task = open_source("noting:crons").load().tasks["note"]
    job = stored(task, START, START.replace(year=2025))
    plain = task._unpack(job.arguments or "")
    assert plain.args == ("2024-05-01T12:00:00+00:00", "2025-05-01T12:00:00+00:00")
    spec = json.dumps([task.target.ref, plain.args, plain.kwargs])
    assert call_in_child(spec) == 0
    assert capsys.readouterr().out == "2024 [2025]\n"


# The terms


def test_a_job_is_due_now_unless_something_else_is_said() -> None:
    clock = Clock()
    job = stored(crons_of(clock).task(greet))
    assert (job.due, job.key, job.priority, job.expires) == (START, None, 0, None)
    assert job.arguments == '{"name":"Ada"}'


@pytest.mark.parametrize(
    ("terms", "due"),
    [
        ({"at": LESSON_END}, LESSON_END),
        ({"at": LESSON_END.astimezone(timezone(timedelta(hours=8)))}, LESSON_END),
        ({"at": START - timedelta(days=9)}, START),
        ({"at": None, "delay": None}, START),
        ({"delay": 90}, START + timedelta(seconds=90)),
        ({"delay": 0.5}, START + timedelta(seconds=0.5)),
        ({"delay": 0}, START),
        ({"delay": timedelta(minutes=2)}, START + timedelta(minutes=2)),
    ],
    ids=str,
)
def test_a_job_is_due_when_it_was_said(terms: Any, due: datetime) -> None:
    job = stored(crons_of(Clock()).task(greet), **terms)
    assert job.due == due
    assert job.due.tzinfo is UTC


@pytest.mark.parametrize("expires", [LESSON_END, 3600, timedelta(hours=1)])
def test_a_job_expires_at_an_instant_or_a_time_from_its_defer(expires: Any) -> None:
    job = stored(crons_of(Clock()).task(greet), expires=expires, priority=-5, key="Ü")
    assert (job.expires, job.priority, job.key) == (LESSON_END, -5, "Ü")


@pytest.mark.parametrize(
    "terms",
    [{"at": LESSON_END, "expires": 60}, {"delay": 3600, "expires": START}, {"at": LESSON_END, "expires": START}],
)
def test_a_job_that_could_never_start_is_refused_at_the_latest_at_its_defer(terms: Any) -> None:
    with pytest.raises(ConfigError, match=r"^greet: expires: is before the job is due, must be later$"):
        stored(crons_of(Clock()).task(greet), **terms)


def test_a_job_that_comes_too_late_is_stored_and_expires() -> None:
    past = START - timedelta(hours=1)
    assert stored(crons_of(Clock()).task(greet), at=past, expires=past).expires == past


def test_a_bound_task_never_changes_and_counts_its_delay_from_each_defer() -> None:
    clock = Clock()
    task = crons_of(clock).task(greet)
    later = task.options(delay=60, key="a")
    other = task.options(key="b")
    with pytest.raises(AttributeError):
        later._options = other._options  # type: ignore[misc]

    async def main() -> list[datetime]:
        jobs = []
        for _ in range(2):
            handle = await later.defer("Ada")
            jobs.append(await task._manager.job(handle.id))
            clock.forward(5)
        return [job.due for job in jobs if job]

    assert asyncio.run(main()) == [START + timedelta(seconds=60), START + timedelta(seconds=65)]


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (
            {"at": NAIVE},
            "greet: at: datetime.datetime(2024, 5, 1, 0, 0): must be an aware datetime, such",
        ),
        ({"at": "2024-05-01T08:00Z"}, "greet: at: '2024-05-01T08:00Z': must be an aware datetime, such as"),
        ({"at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-9)))}, "greet: at: datetime.datetime(9999, "),
        ({"delay": -1}, "greet: delay: -1: must be a number of seconds of 0 or more, or a timedelta, or None"),
        ({"delay": timedelta(-1)}, "greet: delay: datetime.timedelta(days=-1): must be a number of seconds of 0 or"),
        ({"delay": "soon"}, "greet: delay: 'soon': must be a number of seconds"),
        ({"delay": 1e12}, "greet: delay: 1000000000000.0: must be at most 1000000000 seconds"),
        ({"delay": float("nan")}, "greet: delay: nan: must be"),
        ({"at": LESSON_END, "delay": 5}, "greet: at, delay: exclude each other; give one of them"),
        ({"key": ""}, "greet: key: '': must be text of 1 to 200 characters, or None"),
        ({"key": "k" * 201}, "greet: key: 'kkk"),
        ({"key": 204}, "greet: key: 204: must be text"),
        ({"key": "a\0b"}, "greet: key: 'a\\x00b': must hold no control characters"),
        ({"on_conflict": "replce"}, "greet: on_conflict: 'replce': must be "),
        ({"priority": 1.5}, "greet: priority: 1.5: must be a whole number from -1000000 to 1000000"),
        ({"expires": NAIVE}, "greet: expires: datetime.datetime(2024, 5, 1, 0, 0): must be an aware"),
        ({"expires": -1}, "greet: expires: -1: must be an aware datetime, a number of seconds of 0 or more, or a"),
        ({"at": LESSON_END, "expires": START}, "greet: expires: is before the job is due, must be later"),
        ({"delay": 60, "expires": 59}, "greet: expires: is before the job is due, must be later"),
    ],
)
def test_a_wrong_term_is_said_with_its_task(terms: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Crons().task(greet).options(**terms)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_a_key_of_200_characters_is_taken() -> None:
    assert stored(crons_of(Clock()).task(greet), key="ä" * 200).key == "ä" * 200


def test_ids_are_uuids_that_grow_with_time() -> None:
    clock = Clock()
    task = crons_of(clock).task(greet)
    ids = []
    for _ in range(20):
        ids.append(stored(task).run_id)
        clock.forward(0.001)
    assert ids == sorted(set(ids))
    assert all(UUID(one).version == 7 and UUID(one).variant == "specified in RFC 4122" for one in ids)


@pytest.mark.parametrize(
    ("after", "meant"), [(None, None), (90, timedelta(seconds=90)), (timedelta(hours=1), timedelta(hours=1))]
)
def test_a_retry_says_when(after: Any, meant: timedelta | None) -> None:
    assert Retry(after).after == meant
    assert Retry(after=after).after == meant


def test_a_retry_of_the_past_is_refused() -> None:
    with pytest.raises(ConfigError, match="Retry: after: -1: must be a number of seconds of 0 or more"):
        Retry(after=-1)


def test_a_type_checker_knows_the_arguments() -> None:
    """This is for mypy to read: an ignore that it does not need would be an error."""
    task = Crons(backend="memory:").task(greet)

    def read(work: Callable[..., Coroutine[Any, Any, Any]]) -> None: ...

    read(lambda: task.defer(5))  # type: ignore[arg-type]
    read(lambda: task.defer("Ada", dya=None))  # type: ignore[call-arg]
    read(lambda: task.options(key="a").defer())  # type: ignore[call-arg]
    assert task("Ada").upper() == "HELLO ADA"


def test_pseudocron_is_imported_without_what_only_a_store_needs() -> None:
    ask = "import sys, pseudocron; print('sqlite3' in sys.modules)"
    # Measuring coverage needs a store as well.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    said = subprocess.run([sys.executable, "-c", ask], env=environ, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
