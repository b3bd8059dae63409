"""Entries in every form, the decorators, and what can be read of the crons."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from pseudocron.config.entries import OPTIONS, Options
from pseudocron.config.settings import Settings
from pseudocron.config.source import open_source
from pseudocron.crons import Cron, Crons
from pseudocron.errors import ConfigError, ScheduleError, TargetError, UnknownCronError
from pseudocron.schedule import Interval, Schedule, parse
from pseudocron.targets import Function, Script, Shell

if TYPE_CHECKING:
    from pathlib import Path

MAY = datetime(2024, 5, 1, tzinfo=UTC)


def only(entry: object) -> Cron:
    (cron,) = open_source({"digest": entry}).load()
    return cron


def work() -> None:
    """For entries to name."""


def other_work() -> None:
    """For entries to name."""


async def async_work() -> None:
    """For entries to name."""


def stamp(path: str) -> None:
    """For entries to name."""


# The forms of an entry


@pytest.mark.parametrize("form", [tuple, list])
def test_a_target_and_a_schedule_are_an_entry(shop: Path, form: Any) -> None:
    cron = only(form(["jobs/tidy.py", 60]))
    assert cron == Cron(name="digest", target=Script(shop / "jobs" / "tidy.py"), schedule=parse(60))


@pytest.mark.parametrize(
    "last_run",
    [
        "2024-05-01T08:00:00+08:00",
        "2024-05-01T00:00:00Z",
        datetime(2024, 5, 1, 8, tzinfo=timezone(timedelta(hours=8))),
        MAY.timestamp(),
        int(MAY.timestamp()),
    ],
)
def test_a_last_run_sets_the_phase_of_an_interval(shop: Path, last_run: object) -> None:
    for entry in ((work, 7, last_run), {"run": work, "schedule": 7, "last_run": last_run}):
        cron = only(entry)
        assert cron.last_run == MAY
        assert cron.last_run.tzinfo is UTC
        assert cron.schedule == Interval(timedelta(seconds=7), MAY)


@pytest.mark.parametrize("never", [None, 0, 0.0, "", " "])
def test_none_and_zero_and_empty_text_mean_never(shop: Path, never: object) -> None:
    assert only((work, 60, never)) == only((work, 60))
    assert only({"run": work, "schedule": 60, "next_run": never}) == only((work, 60))
    assert only((work, "0 0 * * *", never))._first_mark(MAY) == MAY


@pytest.mark.parametrize("seconds", [-90, 0, 90, 9000])
def test_a_next_run_is_the_first_slot_of_an_interval(shop: Path, seconds: int) -> None:
    now = MAY + timedelta(seconds=5)
    first = now + timedelta(seconds=seconds)
    cron = only({"run": work, "schedule": 60, "next_run": first})
    since = cron._first_mark(now)
    assert since <= now
    assert list(islice(cron.schedule.ahead(since), 2)) == [first, first + timedelta(seconds=60)]
    assert cron.schedule.latest(MAY - timedelta(days=1), first - timedelta(microseconds=1)) is None
    assert cron.schedule.count(MAY - timedelta(days=1), first + timedelta(seconds=120)) == 3
    assert cron.schedule.last(MAY - timedelta(days=1), first + timedelta(seconds=60), limit=9)[0] == first


def test_a_next_run_that_has_passed_is_due_now(shop: Path) -> None:
    cron = only({"run": work, "schedule": 3600, "next_run": MAY})
    now = MAY + timedelta(seconds=1)
    assert cron.schedule.latest(cron._first_mark(now), now) == MAY


def test_a_mapping_says_everything(shop: Path) -> None:
    options = {
        "last_run": MAY.timestamp(),
        "timeout": 5,
        "coalesce": False,
        "misfire_grace_time": 3,
        "max_instances": 2,
        "jitter": 1.5,
        "retries": 4,
        "at_least_once": True,
        "executor": "process",
        "enabled": False,
        "env": {"LANG": "C"},
        "cwd": "jobs",
        "args": [1],
        "kwargs": {"a": 2},
    }
    entry = {"run": "shop:report", "schedule": "0 7 * * mon-fri", "tz": "Asia/Shanghai", **options}
    cron = only(entry)
    assert isinstance(cron.target, Function)
    assert cron == Cron(
        name="digest",
        target=cron.target,
        schedule=parse("0 7 * * mon-fri", "Asia/Shanghai"),
        last_run=MAY,
        timeout=5.0,
        coalesce=False,
        misfire_grace_time=3.0,
        max_instances=2,
        jitter=1.5,
        retries=4,
        at_least_once=True,
        process=True,
        enabled=False,
        env={"LANG": "C"},
        cwd=shop / "jobs",
        args=(1,),
        kwargs={"a": 2},
    )


def test_the_table_of_options_is_what_the_types_say() -> None:
    assert set(OPTIONS) - {"tz"} == set(Options.__annotations__)
    own = {"name", "target", "schedule", "process", "_hooks", "_definition"}
    assert set(OPTIONS) - {"tz", "executor"} == set(Cron.__dataclass_fields__) - own


def test_none_is_no_timeout_and_no_grace(shop: Path) -> None:
    cron = only({"run": work, "schedule": 60, "timeout": None, "misfire_grace_time": None, "tz": None})
    assert cron.timeout is None
    assert cron.misfire_grace_time is None


def test_toml_says_the_same(shop: Path) -> None:
    (shop / "crons.toml").write_text(
        """
        tz = "Asia/Shanghai"
        [crons.tidy]
        script = "jobs/tidy.py"
        schedule = 60
        last_run = 2024-05-01T08:00:00+08:00
        args = ["a", 1]
        [crons]
        "a name" = ["shop:send", "0 7 * * *"]
        """
    )
    crons = open_source("crons.toml").load()
    assert [cron.name for cron in crons] == ["tidy", "a name"]
    assert crons["tidy"].args == ("a", 1)
    assert crons["tidy"].last_run == MAY
    assert crons["a name"].schedule == parse("0 7 * * *", "Asia/Shanghai")


# Targets


@pytest.mark.parametrize("target", ["jobs/tidy.py", "./tidy", "tidy", "../{name}/tidy", "{folder}/jobs/tidy.py"])
def test_a_path_is_a_script(shop: Path, target: str) -> None:
    target = target.format(name=shop.name, folder=shop)
    found = only((target, 60)).target
    assert isinstance(found, Script)
    assert found.path.is_absolute()
    assert found.path.samefile(shop / target)
    assert only({"script": shop / target, "schedule": 60}).target == Script(shop / target)


@pytest.mark.parametrize("key", ["run", "script"])
def test_a_script_counts_from_the_config_files_folder(shop: Path, key: str) -> None:
    (shop / "jobs" / "crons.toml").write_text(f"[crons.tidy]\n{key} = 'tidy.py'\nschedule = 60")
    assert open_source("jobs/crons.toml").load()["tidy"].target == Script(shop / "jobs" / "tidy.py")


def test_a_script_keeps_the_symlink_that_a_deployment_swaps(shop: Path) -> None:
    (shop / "current").symlink_to("jobs")
    assert only(("current/tidy.py", 60)).target == Script(shop / "current" / "tidy.py")


def test_a_command_line_is_for_the_shell(shop: Path) -> None:
    (shop / "crons.toml").write_text("[crons.dump]\nshell = 'pg_dump shop | gzip'\nschedule = 60")
    line = Shell("pg_dump shop | gzip")
    assert open_source("crons.toml").load()["dump"].target == line
    assert only({"shell": "pg_dump shop | gzip", "schedule": 60}).target == line
    crons = Crons()
    crons.add("dump", line, 60)
    assert crons["dump"].target == line


@pytest.mark.parametrize("ref", ["shop:send", "shop:mailer.send", "shop:Mailer"])
def test_an_import_string_is_imported(shop: Path, ref: str) -> None:
    target = only((ref, 60)).target
    assert isinstance(target, Function)
    assert callable(target.call)
    assert str(target) == ref


def test_a_callable_is_named_by_its_module_and_its_qualified_name(shop: Path) -> None:
    assert only((work, 60)).target == Function(work, f"{__name__}:work")
    partial = functools.partial(work)
    assert only((partial, 60)).target == Function(partial, "functools:partial")


class Worker:
    async def __call__(self) -> None:
        """For entries to name."""


@pytest.mark.parametrize("call", [async_work, functools.partial(async_work), Worker()])
def test_whatever_gives_a_coroutine_may_say_that_it_is_async(shop: Path, call: object) -> None:
    assert not only({"run": call, "schedule": 60, "executor": "async"}).process
    with pytest.raises(ConfigError, match="is a coroutine function"):
        only({"run": call, "schedule": 60, "executor": "thread"})


def test_a_plain_function_may_say_that_it_runs_in_a_thread(shop: Path) -> None:
    assert not only({"run": work, "schedule": 60, "executor": "thread"}).process


@pytest.mark.parametrize("executor", [None, "process"])
def test_a_script_may_say_that_it_is_a_process(shop: Path, executor: str | None) -> None:
    assert not only({"script": "tidy", "schedule": 60, "executor": executor}).process


@pytest.mark.parametrize(
    ("call", "args"), [("shop:send", []), (work, []), (async_work, []), (json.dumps, [1]), (Worker.__call__, [1])]
)
def test_what_a_child_can_import_may_be_a_process(shop: Path, call: object, args: list[int]) -> None:
    assert only({"run": call, "schedule": 60, "executor": "process", "args": args}).process


def in_main() -> None:
    """For entries to name."""


in_main.__module__ = "__main__"


def in_a_module_that_nobody_can_import() -> None:
    """For entries to name."""


in_a_module_that_nobody_can_import.__module__ = "nowhere"


@pytest.mark.parametrize(
    "call",
    [lambda: None, functools.partial(work), Worker(), in_main, in_a_module_that_nobody_can_import],
)
def test_what_no_child_can_import_is_refused_as_a_process(
    shop: Path, monkeypatch: pytest.MonkeyPatch, call: object
) -> None:
    # The main module of a child is another.
    monkeypatch.setattr(sys.modules["__main__"], "in_main", in_main, raising=False)

    def local() -> None: ...

    for target in (call, local):
        with pytest.raises(ConfigError, match="no child process can import"):
            only({"run": target, "schedule": 60, "executor": "process"})


def test_a_function_of_the_config_file_itself_is_refused_as_a_process(shop: Path) -> None:
    (shop / "crons.py").write_text("def f(): pass\ncrons = {'f': {'run': f, 'schedule': 5, 'executor': 'process'}}")
    with pytest.raises(ConfigError, match=r"no child process can import <crons\.py>:f"):
        open_source("crons.py").load()


# The first mark


def test_an_interval_never_seen_is_due_now_for_its_latest_slot(shop: Path) -> None:
    cron = only((work, 60))
    now = MAY + timedelta(seconds=90)
    assert cron._first_mark(now) == MAY
    assert cron.schedule.last(cron._first_mark(now), now, limit=9) == [MAY + timedelta(seconds=60)]
    assert cron._first_mark(MAY) == MAY - timedelta(seconds=60)


def test_a_clock_time_never_seen_waits_for_its_first_slot(shop: Path) -> None:
    assert only((work, "0 0 * * *"))._first_mark(MAY) == MAY


def test_a_last_run_is_the_first_mark_but_never_later_than_now(shop: Path) -> None:
    for schedule in (60, "0 0 * * *"):
        cron = only((work, schedule, MAY))
        assert cron._first_mark(MAY + timedelta(days=9)) == MAY
        assert cron._first_mark(MAY - timedelta(days=9)) == MAY - timedelta(days=9)


def test_an_interval_of_millennia_waits(shop: Path) -> None:
    cron = only((work, timedelta(days=999_999)))
    assert cron._first_mark(MAY) == MAY


# In code


def test_a_decorator_returns_the_function_unchanged() -> None:
    crons = Crons()
    assert crons.every(60)(work) is work
    assert crons.cron("0 2 * * *")(async_work) is async_work
    assert [cron.name for cron in crons] == ["work", "async_work"]


@pytest.mark.parametrize(
    ("args", "units", "schedule"),
    [
        ((300,), {}, 300),
        ((0.5,), {}, 0.5),
        ((timedelta(hours=1),), {}, 3600),
        ((), {"minutes": 5}, 300),
        ((), {"weeks": 1, "days": 1, "hours": 1, "minutes": 1, "seconds": 1.5}, 694_861.5),
        (("5 minutes",), {}, 300),
        (("every 5 minutes",), {}, 300),
        (("90s",), {}, 90),
        (("hour",), {}, "every hour"),
        (("day at 02:00",), {}, "0 2 * * *"),
        (("Every day at 02:00",), {}, "0 2 * * *"),
        ((" monday at 09:30",), {}, "30 9 * * 1"),
        ((parse("@daily"),), {}, "@daily"),
    ],
)
def test_every_takes_what_people_say(args: Any, units: Any, schedule: object) -> None:
    crons = Crons()
    crons.every(*args, **units)(work)
    assert crons["work"].schedule == parse(schedule)


@pytest.mark.parametrize(
    ("args", "units"), [((), {}), ((None,), {}), ((60,), {"minutes": 5}), ((work,), {}), ((), {"hours": 0})]
)
def test_every_needs_one_schedule(args: Any, units: Any) -> None:
    with pytest.raises(ConfigError, match=r"^every\(\) needs one schedule, such as every\(300\), "):
        Crons().every(*args, **units)


@pytest.mark.parametrize("minutes", ["5", float("inf"), float("nan"), 10**20])
def test_units_that_make_no_time_span_are_named(minutes: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Crons().every(minutes=minutes)
    assert str(caught.value) == f"every(minutes={minutes!r}): must be numbers that make a time span"


def test_a_decorator_takes_a_name_a_zone_and_options() -> None:
    crons = Crons(tz="Asia/Kolkata")
    crons.every("day at 02:00", name="a", tz="Asia/Shanghai", timeout=5)(work)
    crons.cron("0 2 * * *", name="b", tz="Asia/Shanghai", timeout=5)(work)
    crons.cron("0 2 * * *", name="c", retries=1)(work)
    assert crons["a"].schedule == crons["b"].schedule == parse("0 2 * * *", "Asia/Shanghai")
    assert crons["a"].timeout == 5
    assert crons["c"].schedule == parse("0 2 * * *", "Asia/Kolkata")


def test_options_of_a_decorator_are_checked_where_they_stand() -> None:
    with pytest.raises(ConfigError, match=r"^'work': unknown option 'timout', did you mean 'timeout'\?$"):
        Crons().every(60, timout=5)(work)  # type: ignore[call-arg]


def test_two_functions_of_one_name_are_both_named() -> None:
    crons = Crons()
    crons.every(60)(work)
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    with pytest.raises(ConfigError) as caught:
        crons.every(60, name="work")(other_work)
    place = f"already defined at {__file__}:{line} for {__name__}:work"
    assert str(caught.value) == f"'work': {place}, give {__name__}:other_work another name"
    with pytest.raises(ConfigError, match=r", give 'shop:send' another name$"):
        crons.add("work", "shop:send", 60)


def test_a_callable_without_a_name_needs_one() -> None:
    with pytest.raises(ConfigError, match="a name must be text"):
        Crons().every(60)(functools.partial(work))
    with pytest.raises(ConfigError, match="a name must be text"):
        Crons().every(60, name="")(work)


def test_targets_and_schedules_are_resolved_when_they_are_read(shop: Path) -> None:
    crons = Crons()
    crons.add("later", "later:f", 60)
    crons.add("never", work, "nver")
    with pytest.raises(TargetError, match=r"^'later': 'later:f': can't import"):
        crons["later"]
    (shop / "later.py").write_text("def f(): pass")
    assert str(crons["later"].target) == "later:f"
    with pytest.raises(ScheduleError, match=r"^'never': schedule 'nver'"):
        tuple(crons)


def test_crons_are_a_collection_by_name() -> None:
    crons = Crons()
    assert len(crons) == 0
    crons.add("b", work, 60)
    crons.add("a", work, 60)
    assert len(crons) == 2
    assert "a" in crons
    assert "c" not in crons
    assert [cron.name for cron in crons] == ["b", "a"]
    assert crons["a"] is crons["a"]
    assert isinstance(crons["a"].schedule, Schedule)


def test_an_unknown_cron_brings_the_nearest_to_mind() -> None:
    crons = Crons()
    crons.add("digest", work, 60)
    with pytest.raises(UnknownCronError, match=r"^there is no cron 'digset', did you mean 'digest'\?$"):
        crons["digset"]


# Sources


def test_an_import_string_names_a_mapping_or_crons(shop: Path) -> None:
    (shop / "own.py").write_text("from pseudocron.crons import Crons\ncrons = Crons()\n@crons.every(5)\ndef f(): ...\n")
    source = open_source("shop:crons")
    assert [cron.name for cron in source.load()] == ["count"]
    assert source.where == "shop:crons"
    own = open_source("own:crons")
    assert [cron.name for cron in own.load()] == ["f"]
    assert own.load() is own.reload()


def test_an_error_in_what_an_import_string_names_begins_with_it(shop: Path) -> None:
    (shop / "wrong.py").write_text("crons = {'a': ('shop:sned', 5)}\n")
    with pytest.raises(TargetError, match=r"^wrong:crons: 'a': 'shop:sned': "):
        open_source("wrong:crons").load()
    (shop / "built.py").write_text(
        "from pseudocron.crons import Crons\ncrons = Crons()\ncrons.add('a', 'shop:sned', 5)\n"
    )
    with pytest.raises(TargetError, match=r"^built:crons: 'a': 'shop:sned': "):
        open_source("built:crons").load()


def test_crons_are_their_own_source() -> None:
    crons = Crons()
    assert open_source(crons).load() is crons


def test_the_config_file_is_executed_apart_from_all_modules(shop: Path) -> None:
    (shop / "json.py").write_text("import sys\ncrons = {'a': (lambda: (__name__, __file__, sys.path[0]), 60)}\n")
    source = open_source("json.py")
    target = source.load()["a"].target
    assert isinstance(target, Function)
    name, file, path = target.call()
    assert (name, file) == ("<json.py>", str(shop / "json.py"))
    assert path != str(shop / "jobs")
    assert "crons" not in vars(json)


FILED = """
from pseudocron.crons import Crons
BACKEND = "file:elsewhere"
crons = Crons()
@crons.task
def restore() -> None: ...
"""


def test_crons_in_a_file_that_views_have_imported_are_those_of_the_views(shop: Path) -> None:
    (shop / "tasks_of_views.py").write_text(FILED)
    views = import_module("tasks_of_views")
    crons = open_source("tasks_of_views.py").load()
    assert crons is views.crons
    assert views.restore._manager.connect() is crons._connect()
    assert crons.settings == Settings(backend="file:elsewhere", folder=shop), "the file's settings are theirs too"


def test_crons_that_their_own_file_imports_are_not_made_twice(shop: Path) -> None:
    (shop / "round.py").write_text(f"{FILED}import about\n")
    (shop / "about.py").write_text("from round import crons\n@crons.task\ndef more() -> None: ...\n")
    assert set(open_source("round.py").load().tasks) == {"restore", "more"}


def test_a_cron_added_after_the_first_read_is_checked_at_once(shop: Path) -> None:
    crons = Crons()
    crons.add("good", "shop:count", 60)
    assert open_source(crons).load() is crons
    with pytest.raises(TargetError, match=r"^'bad': 'shop:cuont': 'shop' has no 'cuont', did you mean 'count'\?$"):
        crons.add("bad", "shop:cuont", 60)
    crons.add("late", "shop:count", 60)
    assert [cron.name for cron in crons] == ["good", "late"]


def test_a_config_file_may_define_dataclasses(shop: Path) -> None:
    (shop / "crons.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Job:\n    name: str\n"
        "crons = {Job('a').name: ('shop:count', 60)}\n"
    )
    assert [cron.name for cron in open_source("crons.py").load()] == ["a"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_generator_is_refused_as_its_body_would_never_run(shop: Path, kind: str) -> None:
    (shop / "gen.py").write_text(f"{kind} rows():\n    yield 1\n")
    with pytest.raises(TargetError, match="'gen:rows': is a generator, whose body would never run"):
        open_source({"a": ("gen:rows", 60)}).load()


# The call


def add_session(function: Any) -> Any:
    """Decorate a function as frameworks do, with an argument of their own."""

    @functools.wraps(function)
    def with_session(*args: object, **kwargs: object) -> object:
        return function("session", *args, **kwargs)

    return with_session


@add_session
def import_orders(session: str, shop: str) -> None:
    """For entries to name."""


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"run": "shop:report"}, "missing a required argument: 'number'"),
        ({"run": "shop:report", "args": [1, 2, 3]}, "too many positional arguments"),
        ({"run": "shop:report", "args": [1], "kwargs": {"nmae": 2}}, "got an unexpected keyword argument 'nmae'"),
        ({"run": "shop:Mailer.send"}, "missing a required argument: 'self'"),
        ({"run": functools.partial(stamp)}, "missing a required argument: 'path'"),
        ({"run": "shop:report", "executor": "process"}, "missing a required argument: 'number'"),
    ],
)
def test_a_target_that_can_not_be_called_is_refused(shop: Path, entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        only({**entry, "schedule": 60})
    assert f": {problem}; its arguments are the options 'args' and 'kwargs'" in str(caught.value)
    assert str(caught.value).startswith("crons: 'digest': ")


@pytest.mark.parametrize(
    "entry",
    [
        {"run": "shop:report", "kwargs": {"number": 1}},
        {"run": functools.partial(stamp, "a")},
        {"run": import_orders},
        {"run": import_orders, "args": ["Berlin"]},
        {"run": print, "args": [1]},
        {"run": dict},
        {"run": "shop:mailer.send"},
    ],
)
def test_a_target_that_may_be_called_is_taken(shop: Path, entry: dict[str, Any]) -> None:
    assert only({**entry, "schedule": 60}).name == "digest"
