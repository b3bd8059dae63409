"""What a bad configuration gets: one line that names the file, the entry, the value and the mend."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError, PseudoCronError, ScheduleError, TargetError

if TYPE_CHECKING:
    from pathlib import Path

FORMS = "must be (target, schedule), (target, schedule, last_run) or a mapping with 'run' and 'schedule'"
INSTANT = "must be ISO text such as '2024-05-01T08:00:00+08:00', an aware datetime or epoch seconds, or None"
OFFSET = "must say its offset from UTC, such as '2024-05-01T08:00:00+08:00', or None"
FUTURE = "lies in the future, must be when it last ran; a first run to come is the option 'next_run'"
SECONDS = "must be a number of seconds above 0"
ZONE = "is unknown, use an IANA name such as Europe/Berlin"
KINDS = "must be a path (.py or .toml), an import string 'package.module:crons', a mapping or a Crons"
IMPORT = "must be an import string 'package.module:function'"
ARGUMENTS = "must be the script alone, its arguments go into the option 'args'"
COUNT = {"run": "shop:count", "schedule": 60}
SEND = {"run": "shop:send", "schedule": 60}
VARIABLES = "must be a mapping of names to text, such as {'LANG': 'C.UTF-8'}"
SHELL = {"shell": "ls", "schedule": 60}
SCRIPT = {"script": "jobs/tidy.py", "schedule": 60}

ENTRIES: list[tuple[Any, str]] = [
    # the form
    (None, f"None: {FORMS}"),
    (60, f"60: {FORMS}"),
    ("shop:send", f"'shop:send': {FORMS}"),
    ((), f"(): {FORMS}"),
    (("shop:send",), f"('shop:send',): {FORMS}"),
    (("shop:send", 60, None, 1), f"('shop:send', 60, None, 1): {FORMS}"),
    ({"schedule": 60}, "has no 'run', name the script or the function to run"),
    ({"run": "shop:send"}, "has no 'schedule', such as 60 or 'every day at 02:00'"),
    ({**COUNT, "script": "tidy"}, "has both 'run' and 'script', keep one of them"),
    ({**COUNT, "timout": 5}, "unknown option 'timout', did you mean 'timeout'?"),
    ({"run": "shop:send", "shedule": 5}, "unknown option 'shedule', did you mean 'schedule'?"),
    ({**COUNT, "zzz": 5}, "unknown option 'zzz'"),
    ({**COUNT, 5: 5}, "unknown option 5"),
    ({**COUNT, "process": True}, "unknown option 'process'"),
    # the options
    ({**COUNT, "timeout": 0}, f"timeout: 0: {SECONDS}, or None"),
    ({**COUNT, "timeout": -1.5}, f"timeout: -1.5: {SECONDS}, or None"),
    ({**COUNT, "timeout": True}, f"timeout: True: {SECONDS}, or None"),
    ({**COUNT, "timeout": "60"}, f"timeout: '60': {SECONDS}, or None"),
    ({**COUNT, "timeout": float("nan")}, f"timeout: nan: {SECONDS}, or None"),
    ({**COUNT, "timeout": float("inf")}, "timeout: inf: must be at most 1000000000 seconds, or None"),
    (
        {**COUNT, "timeout": 10**5000},
        "timeout: <int>: must be at most 1000000000 seconds, or None",
    ),
    (
        {**COUNT, "timeout": ["x" * 100]},
        f"timeout: ['{'x' * 75}...: {SECONDS}, or None",
    ),
    ({**COUNT, "coalesce": 1}, "coalesce: 1: must be True or False"),
    ({**COUNT, "at_least_once": "yes"}, "at_least_once: 'yes': must be True or False"),
    ({**COUNT, "enabled": None}, "enabled: None: must be True or False"),
    ({**COUNT, "misfire_grace_time": 0}, f"misfire_grace_time: 0: {SECONDS}, or None"),
    ({**COUNT, "max_instances": 0}, "max_instances: 0: must be a whole number from 1 to 1000000"),
    ({**COUNT, "max_instances": 1.0}, "max_instances: 1.0: must be a whole number from 1 to 1000000"),
    ({**COUNT, "max_instances": True}, "max_instances: True: must be a whole number from 1 to 1000000"),
    ({**COUNT, "retries": -1}, "retries: -1: must be a whole number from 0 to 1000000"),
    ({**COUNT, "jitter": -1}, "jitter: -1: must be a number of seconds of 0 or more"),
    ({**COUNT, "args": "abc"}, "args: 'abc': must be a list or a tuple"),
    ({**COUNT, "kwargs": [1]}, "kwargs: [1]: must be a mapping whose keys are text"),
    ({**COUNT, "kwargs": {1: 1}}, "kwargs: {1: 1}: must be a mapping whose keys are text"),
    ({**COUNT, "tz": "Asia/Shangai"}, "tz: 'Asia/Shangai': is unknown, did you mean 'Asia/Shanghai'?"),
    ({**COUNT, "tz": 8}, f"tz: 8: {ZONE}"),
    # its surroundings
    ({**SCRIPT, "env": ["LANG=C"]}, f"env: ['LANG=C']: {VARIABLES}"),
    ({**SCRIPT, "env": {"A=B": "c"}}, f"env: {{'A=B': 'c'}}: {VARIABLES}"),
    ({**SCRIPT, "env": {"A": 1}}, f"env: {{'A': 1}}: {VARIABLES}"),
    ({**SCRIPT, "env": {"A": "b\0"}}, f"env: {{'A': 'b\\x00'}}: {VARIABLES}"),
    ({**COUNT, "env": {"A": "b"}}, "env: shop:count does not run in a child process: add executor='process'"),
    ({**COUNT, "cwd": "jobs"}, "cwd: shop:count does not run in a child process: add executor='process'"),
    ({**SCRIPT, "cwd": 5}, "cwd: 5: must be the path of a folder, or None"),
    ({**SCRIPT, "cwd": "jbos"}, "cwd: 'jbos': there is no such folder in {folder}"),
    ({**SHELL, "shell": " "}, "' ': must be a command line, such as 'pg_dump shop | gzip > shop.gz'"),
    ({**SHELL, "shell": ["ls"]}, "['ls']: must be a command line, such as 'pg_dump shop | gzip > shop.gz'"),
    ({**SHELL, "script": "tidy"}, "has both 'script' and 'shell', keep one of them"),
    ({**SHELL, "args": [1]}, "args: a command line takes no arguments, write them into it"),
    ({**SHELL, "executor": "async"}, "executor: 'async': a command line runs in a process of its own, leave it out"),
    # the last run
    (("shop:count", 60, "2024-05-01T08:00:00"), f"last_run: '2024-05-01T08:00:00': {OFFSET}"),
    (("shop:count", 60, "2024-05-01"), f"last_run: '2024-05-01': {OFFSET}"),
    (("shop:count", 60, "yesterday"), f"last_run: 'yesterday': {INSTANT}"),
    (("shop:count", 60, True), f"last_run: True: {INSTANT}"),
    (("shop:count", 60, float("nan")), f"last_run: nan: {INSTANT}"),
    (("shop:count", 60, 1e300), f"last_run: 1e+300: {INSTANT}"),
    (
        ("shop:count", 60, datetime(2024, 5, 1)),  # noqa: DTZ001 - naive is what is refused
        f"last_run: datetime.datetime(2024, 5, 1, 0, 0): {OFFSET}",
    ),
    (("shop:count", 60, "9000-05-01T08:00:00Z"), f"last_run: '9000-05-01T08:00:00Z': {FUTURE}"),
    (("shop:count", "@daily", 99_999_999_999), f"last_run: 99999999999: {FUTURE}"),
    # the next run
    ({**COUNT, "next_run": "tomorrow"}, f"next_run: 'tomorrow': {INSTANT}"),
    ({**COUNT, "next_run": False}, f"next_run: False: {INSTANT}"),
    ({**COUNT, "last_run": 1, "next_run": 5}, "has both 'last_run' and 'next_run', keep one of them"),
    (
        {"run": "shop:count", "schedule": "@daily", "next_run": 5},
        "next_run: only an interval takes it, a clock time says itself when it is due; leave it out",
    ),
    # the executor
    (
        {**COUNT, "executor": "proces"},
        "executor: 'proces': must be 'async' or 'thread' or 'process', did you mean 'process'?, or None",
    ),
    (
        {**COUNT, "executor": "async"},
        "executor: 'async': shop:count is a plain function, must be 'thread' or 'process'",
    ),
    (
        {**SEND, "executor": "thread"},
        "executor: 'thread': shop:send is a coroutine function, must be 'async' or 'process'",
    ),
    ({**SCRIPT, "executor": "thread"}, "executor: 'thread': a script runs in a process of its own, leave it out"),
    (
        {"run": lambda: None, "schedule": 60, "executor": "process"},
        "executor: 'process': no child process can import config.test_bad_input:<lambda>, define it in a module",
    ),
    (
        {"run": "shop:report", "schedule": 60, "executor": "process", "args": [{1}]},
        "args: ({1},): must be JSON for a child process",
    ),
]

TARGETS: list[tuple[Any, str]] = [
    (None, "None: must be a script's path, an import string 'package.module:function' or a callable"),
    ("", f"'': {IMPORT}"),
    ("shop", f"'shop': {IMPORT}"),
    ("shop.send", f"'shop.send': {IMPORT}, did you mean 'shop:send'?"),
    ("shop.mail.send", f"'shop.mail.send': {IMPORT}"),
    ("tidy --full", f"'tidy --full': {ARGUMENTS}: 'tidy' with args=['--full']"),
    ("jobs/tidy.py -v now", f"'jobs/tidy.py -v now': {ARGUMENTS}: 'jobs/tidy.py' with args=['-v', 'now']"),
    ("backup.sh --full", f"'backup.sh --full': {ARGUMENTS}: 'backup.sh' with args=['--full']"),
    ("shop:", f"'shop:': {IMPORT}"),
    (":send", f"':send': {IMPORT}"),
    ("shop:send:now", f"'shop:send:now': {IMPORT}"),
    (".shop:send", f"'.shop:send': {IMPORT}"),
    ("shop send", f"'shop send': {IMPORT}"),
    ("shop:sned", "'shop:sned': 'shop' has no 'sned', did you mean 'send'?"),
    ("shop:mailer.sent", "'shop:mailer.sent': 'shop' has no 'sent', did you mean 'send'?"),
    ("shop:price", "'shop:price': is of type int, must be callable"),
    (
        "shopp:send",
        (
            "'shopp:send': can't import 'shopp': ModuleNotFoundError: No module named 'shopp', "
            "is its folder on the import path?"
        ),
    ),
    ("broken:send", "'broken:send': can't import 'broken': ZeroDivisionError: division by zero"),
    ("leaver:send", "'leaver:send': can't import 'leaver': SystemExit: 3"),
    ("jobs/tydy.py", "'jobs/tydy.py': there is no such script in {folder}"),
    ("./plain", "'./plain': is not executable: it must be a .py, or executable; run: chmod +x {folder}/plain"),
    ("./text", "'./text': names no interpreter: it must begin with a line such as #!/bin/sh, or be a .py"),
    ("./lost", "'./lost': its interpreter can't be started: '/no/such/sh'"),
    ("tydy.py", "'tydy.py': there is no such script in {folder}"),
    ("a\0b.py", "'a\\x00b.py': there is no such script in {folder}"),
    ("./jobs", "'./jobs': is a folder, must be a script"),
    (f"{'x' * 300}.py", f"'{'x' * 76}...: there is no such script in {{folder}}"),
]

NAMES: list[tuple[Any, str]] = [
    ("", "'': a name must be text of 1 to 200 characters"),
    ("  ", "'  ': a name must be text of 1 to 200 characters"),
    (5, "5: a name must be text of 1 to 200 characters"),
    (None, "None: a name must be text of 1 to 200 characters"),
    ("x" * 201, f"'{'x' * 76}...: a name must be text of 1 to 200 characters"),
    ("a\nb", "'a\\nb': a name must hold no control characters"),
    ("a\0b", "'a\\x00b': a name must hold no control characters"),
    ("a\udc80", "'a\\udc80': a name must hold no control characters"),
]

PYTHON: list[tuple[str | bytes, str]] = [
    ("", "crons.py: holds no 'crons'"),
    ("cron = {}", "crons.py: holds no 'crons', did you mean 'cron'?"),
    ("crons = [1]", "crons.py: crons: [1]: must be a mapping or a Crons"),
    ("crons = None", "crons.py: crons: None: must be a mapping or a Crons"),
    ("a = 1\ncrons = {\n", "crons.py, line 2: SyntaxError: '{' was never closed"),
    ("a = 1\n\ncrons = x", "crons.py, line 3: NameError: name 'x' is not defined"),
    ("def f():\n    1 / 0\nf()\n", "crons.py, line 2: ZeroDivisionError: division by zero"),
    ("import shopp\n", "crons.py, line 1: ModuleNotFoundError: No module named 'shopp'"),
    ("import broken\n", "crons.py, line 1: ZeroDivisionError: division by zero"),
    ("import sys\nsys.exit('no')\n", "crons.py, line 2: SystemExit: no"),
    ("raise ValueError\n", "crons.py, line 1: ValueError"),
    ("raise ValueError('two\\nlines')\n", "crons.py, line 1: ValueError: two lines"),
    ("crons = {}\nLEASE = 'x'", f"crons.py: LEASE: 'x': {SECONDS}"),
    ("crons = {}\nAPP = 'a b'", "crons.py: APP: 'a b': must be 1 to 64 of the characters A-Z a-z 0-9 _ -"),
    ("crons = {'a': ('shop:send',)}", f"crons.py: 'a': ('shop:send',): {FORMS}"),
    (
        "from pseudocron.crons import Crons\ncrons = Crons()\n@crons.every(60, timout=1)\ndef f(): pass\n",
        "crons.py, line 3: 'f': unknown option 'timout', did you mean 'timeout'?",
    ),
    (
        "from pseudocron.crons import Crons\ncrons = Crons()\ncrons.add('f', 'tydy.py', 5)\n",
        "crons.py: 'f': 'tydy.py': there is no such script in {folder}",
    ),
    (b"crons = {}\n# \xe4\n", "crons.py: is not UTF-8 at byte 13, save it as UTF-8"),
    (b"crons = {}\n\0", "crons.py: holds a NUL at character 11, is it a text file?"),
]

TOML: list[tuple[str | bytes, str]] = [
    ("", "crons.toml: holds no table 'crons', write [crons.NAME] above each cron"),
    ("crons = 5", "crons.toml: holds no table 'crons', write [crons.NAME] above each cron"),
    ("[crons]\na = [\n", "crons.toml: Invalid value (at end of document)"),
    ("[crons]\na = 1\nb = ?\n", "crons.toml: Invalid value (at line 3, column 5)"),
    (f"lease = {'1' * 5000}", "crons.toml: Exceeds the limit"),
    (f"a = {'[' * 5000}", "crons.toml: "),
    ("leese = 3\n[crons]", "crons.toml: unknown setting 'leese', did you mean 'lease'?"),
    ("[cron.a]\nrun = 'x'", "crons.toml: unknown setting 'cron', did you mean 'crons'?"),
    ("Lease = 3\n[crons]", "crons.toml: unknown setting 'Lease', did you mean 'lease'?"),
    ("enabled = false\n[crons]", "crons.toml: unknown setting 'enabled'"),
    ("drain = -1\n[crons]", "crons.toml: drain: -1: must be a number of seconds of 0 or more"),
    ("[crons.a]\nrun = 'shop:send'\nschedule = 5\nretry = 1", "crons.toml: 'a': unknown option 'retry', "),
    (b"\xff", "crons.toml: is not UTF-8 at byte 0, save it as UTF-8"),
]

ENVIRONMENT: list[tuple[str, str, str]] = [
    ("CRON_MAX_TIME", "-1", f"$CRON_MAX_TIME: -1: {SECONDS}"),
    ("CRON_MAX_TIME", "", f"$CRON_MAX_TIME: '': {SECONDS}"),
    ("CRON_MAX_TIME", "1 moon", f"$CRON_MAX_TIME: '1 moon': {SECONDS}, or words such as '5 min' or '1h30m'"),
    ("PSEUDOCRON_CRON_MAX_TIME", "nan", f"$PSEUDOCRON_CRON_MAX_TIME: nan: {SECONDS}"),
    ("PSEUDOCRON_BACKEND", "", "$PSEUDOCRON_BACKEND: '': must be text that is not empty"),
    ("PSEUDOCRON_APP", "../x", "$PSEUDOCRON_APP: '../x': must be 1 to 64 of the characters A-Z a-z 0-9 _ -"),
    ("PSEUDOCRON_TZ", "Mars", f"$PSEUDOCRON_TZ: 'Mars': {ZONE}"),
    ("PSEUDOCRON_TZ", "../../etc/passwd", f"$PSEUDOCRON_TZ: '../../etc/passwd': {ZONE}"),
    ("PSEUDOCRON_DRAIN", "inf", "$PSEUDOCRON_DRAIN: inf: must be at most 1000000000 seconds"),
    ("PSEUDOCRON_CONCURRENCY", "0", "$PSEUDOCRON_CONCURRENCY: 0: must be a whole number from 1 to 1000000"),
    ("PSEUDOCRON_HISTORY", "2.5", "$PSEUDOCRON_HISTORY: 2.5: must be a whole number from 1 to 1000000"),
    ("PSEUDOCRON_LEASE", "0", f"$PSEUDOCRON_LEASE: 0: {SECONDS}"),
    ("PSEUDOCRON_ENABLED", "maybe", "$PSEUDOCRON_ENABLED: 'maybe': must be True or False"),
]


def refusal(ref: object) -> str:
    with pytest.raises(PseudoCronError) as caught:
        open_source(ref).load()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(("entry", "message"), ENTRIES)
def test_a_bad_entry_is_named_with_its_value_and_the_mend(shop: Path, entry: object, message: str) -> None:
    assert refusal({"digest": entry}) == f"crons: 'digest': {message.replace('{folder}', str(shop))}"


@pytest.mark.parametrize(("target", "message"), TARGETS)
def test_a_bad_target_is_named_with_the_cause(shop: Path, target: object, message: str) -> None:
    expected = f"crons: 'digest': {message.replace('{folder}', str(shop))}"
    assert refusal({"digest": (target, 60)}) == expected
    with pytest.raises(TargetError):
        open_source({"digest": {"run": target, "schedule": 60}}).load()


@pytest.mark.parametrize("target", ["shop:send", "tydy", ".", "\0"])
def test_a_script_is_a_path_whatever_it_looks_like(shop: Path, target: str) -> None:
    with pytest.raises(TargetError, match=r"there is no such script|is a folder"):
        open_source({"digest": {"script": target, "schedule": 60}}).load()


def test_a_script_that_is_no_text_is_refused(shop: Path) -> None:
    message = refusal({"digest": {"script": print, "schedule": 60}})
    assert message == "crons: 'digest': <built-in function print>: must be a script's path"


@pytest.mark.parametrize(("name", "message"), NAMES)
def test_a_bad_name_is_shown_as_it_was_written(shop: Path, name: object, message: str) -> None:
    assert refusal({name: ("shop:send", 60)}) == f"crons: {message}"


@pytest.mark.parametrize(("schedule", "tz"), [("evry day", None), (0, None), (True, None), (None, "UTC")])
def test_a_bad_schedule_is_named_with_its_entry(shop: Path, schedule: object, tz: str | None) -> None:
    message = refusal({"digest": {"run": "shop:send", "schedule": schedule, "tz": tz}})
    assert message.startswith("crons: 'digest': schedule ")
    assert repr(schedule) in message
    with pytest.raises(ScheduleError):
        open_source({"digest": ("shop:send", schedule)}).load()


@pytest.mark.parametrize(("text", "message"), PYTHON)
def test_a_bad_python_file_is_one_line_with_the_place(shop: Path, text: str | bytes, message: str) -> None:
    (shop / "crons.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refusal("crons.py") == message.replace("{folder}", str(shop))


@pytest.mark.parametrize(("text", "message"), TOML)
def test_a_bad_toml_file_is_one_line_with_the_place(shop: Path, text: str | bytes, message: str) -> None:
    (shop / "crons.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refusal("crons.toml").startswith(message)


@pytest.mark.parametrize(("variable", "value", "message"), ENVIRONMENT)
def test_a_bad_variable_is_named(
    shop: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert refusal({}).startswith(message)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("crons.py", "crons.py: there is no such file in {folder}"),
        ("conf/crons.toml", "conf/crons.toml: there is no such file in {folder}/conf"),
        ("crons.yaml/", "crons.yaml: must end in .py or .toml"),
        ("tidy", "tidy: must end in .py or .toml"),
        ("folder.py", "folder.py: is a folder, must be a file"),
        ("a\0.py", "a\0.py: there is no such file in {folder}"),
        ("shop:price", "shop:price: is of type int, must be a mapping or a Crons"),
        ("shop:cron", "'shop:cron': 'shop' has no 'cron', did you mean 'crons'?"),
        ("shop.crons", f"'shop.crons': {IMPORT}, did you mean 'shop:crons'?"),
        ("shop", f"'shop': {KINDS}, did you mean 'shop:crons'?"),
        ("store.crons", f"'store.crons': {KINDS}, did you mean 'store.crons:crons'?"),
        ("store", f"'store': {IMPORT}"),
        (None, "crons: None: must be a path (.py or .toml), an import string "),
        (5, "crons: 5: must be a path (.py or .toml), an import string "),
    ],
)
def test_a_bad_reference_is_refused_when_it_is_loaded(shop: Path, ref: object, message: str) -> None:
    (shop / "folder.py").mkdir()
    (shop / "store").mkdir()
    (shop / "store" / "crons.py").write_text("crons = {}")
    assert refusal(ref).startswith(message.replace("{folder}", str(shop)))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("backend", "", "Crons: backend: '': must be text that is not empty"),
        ("backend", 5, "Crons: backend: 5: must be text that is not empty"),
        ("app", "", "Crons: app: '': must be 1 to 64 of the characters A-Z a-z 0-9 _ -"),
        ("durability", "pwoer", "Crons: durability: 'pwoer': must be 'power' or 'process', did you mean 'power'?"),
        ("tz", "Asia", "Crons: tz: 'Asia': is unknown"),
        ("lease", "30", f"Crons: lease: '30': {SECONDS}"),
        ("drain", True, "Crons: drain: True: must be a number of seconds of 0 or more"),
        ("history", 0, "Crons: history: 0: must be a whole number from 1 to 1000000"),
    ],
)
def test_a_bad_argument_is_refused_at_once(setting: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Crons(**{setting: value})
    assert str(caught.value).startswith(message)


def test_an_entry_that_can_not_be_shown_is_still_named(shop: Path) -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError

    assert refusal({"digest": Shy()}) == f"crons: 'digest': <Shy>: {FORMS}"


def test_instants_are_refused_in_one_line_at_the_edge_of_the_calendar(shop: Path) -> None:
    edge = datetime.min.replace(tzinfo=UTC)
    assert open_source({"digest": ("shop:count", "@daily", edge)}).load()["digest"].last_run == edge
    assert "last_run" in refusal({"digest": ("shop:count", 60, "0001-01-01T00:00:00+08:00")})


TWICE = """
crons = {
    "count": ("shop:count", 60),
    "send": {"run": "shop:send", "schedule": 60, "timeout": 5,
             "timeout": 6},
}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TWICE, ", line 5: 'timeout': already defined at {file}:4, keep one of them"),
        (TWICE.replace('"send"', '"count"'), ", line 4: 'count': already defined at {file}:3, keep one of them"),
        ("crons: dict = {1: 2, True: 3}", ", line 1: True: already defined at {file}:1, keep one of them"),
    ],
)
def test_a_key_that_is_named_twice_is_noticed(shop: Path, text: str, message: str) -> None:
    (shop / "crons.py").write_text(text)
    (shop / "twice.py").write_text(text)
    assert refusal("crons.py") == f"crons.py{message}".replace("{file}", str(shop / "crons.py"))
    assert refusal("twice:crons") == f"twice:crons{message}".replace("{file}", str(shop / "twice.py"))


def test_a_mapping_beside_the_crons_may_name_a_key_twice(shop: Path) -> None:
    (shop / "crons.py").write_text('other = {"a": 1, "a": 2}\ncrons = {**other, **other} and {"c": ("shop:count", 5)}')
    assert len(open_source("crons.py").load()) == 1
