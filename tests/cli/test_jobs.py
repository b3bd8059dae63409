"""TaskRegistry, cancelling, seeing, retrying and forgetting jobs from a shell."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from cli.shell import asked, named, pseudocron
from pseudocron.backends.file.backend import File
from pseudocron.backends.model import State
from pseudocron.backends.questions import Capacity, End, Poll, Take
from pseudocron.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

TASKS = """
from datetime import datetime
from pathlib import Path
from pseudocron import Crons

crons = Crons()

@crons.task
def restore(classroom: str, until: datetime = datetime.max) -> None:
    Path("restored").write_text(f"{classroom!r} {until!r}")

@crons.task(retries=0)
def broken(**why: object) -> None:
    raise ValueError("\\x1b[2J")
"""
LATER = ["--arg", "classroom=B-204", "--delay", "1h30m"]
UNTIL = "2024-05-01T08:00:00+08:00"


@pytest.fixture
def tasks(here: Path) -> Path:
    (here / "crons.py").write_text(TASKS)
    return here


def said(folder: Path, *argv: str, **environ: str) -> Result:
    return CliRunner().invoke(main, argv, env={**named(folder), "TZ": "UTC", **environ})


def deferred(folder: Path, *argv: str) -> str:
    done = said(folder, "defer", *argv)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def listed(folder: Path, *argv: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(said(folder, "jobs", "--json", *argv).stdout)
    return found


TAKE = Take({"broken": None}, {}, Capacity(total=1, slots=0, jobs=1), worker="other:1", lease=60)
FAILED = State.FAILED


def claimed(folder: Path, outcome: State | None = None) -> None:
    """Let a worker claim the due job of `broken`, and record how it ended."""

    async def work() -> None:
        store = File(folder / ".pseudocron")
        await store.open()
        polled = await store.poll(Poll(TAKE, force=True))
        assert polled
        (claim,) = polled.claims
        if outcome is not None:
            await store.finish([End(claim, outcome, error="Traceback\nValueError: \x1b[2J", reason=outcome)])
        await store.close()

    asyncio.run(work())


def test_a_deferred_job_runs_elsewhere_and_can_be_retried(tmp_path: Path) -> None:
    (tmp_path / "crons.py").write_text(TASKS)
    argv = ["--arg", "classroom=B-204", "--arg", f"until={UNTIL}", "--priority", "1"]
    done = pseudocron(tmp_path, "defer", "restore", *argv)
    assert (done.returncode, done.stderr) == (0, "")
    broken = pseudocron(tmp_path, "defer", "broken").stdout.strip()
    assert pseudocron(tmp_path, "tick").returncode == 1
    until = repr(datetime.fromisoformat(UNTIL))
    assert (tmp_path / "restored").read_text() == f"'B-204' {until}"
    job, other = asked(tmp_path, "jobs")
    assert (job["job_id"], job["state"]) == (broken, "failed")
    assert (other["job_id"], other["state"]) == (done.stdout.strip(), "succeeded")
    assert pseudocron(tmp_path, "jobs", "retry", broken).stdout == f"{broken} is pending\n"


def test_terms_and_arguments_are_stored_as_they_are_typed(tasks: Path) -> None:
    argv = ["--at", "2199-05-01T08:00:00+08:00", "--expires", "2199-05-02T08:00:00+08:00", "--priority", "-3"]
    values = ["--arg", "a=1", "--arg", 'b={"c": [null]}', "--arg", "d=x=y", "--arg", 'e="1"']
    job_id = deferred(tasks, "broken", *argv, *values, "--key", "k")
    (job,) = listed(tasks)
    assert job["arguments"] == {"why": {"a": 1, "b": {"c": [None]}, "d": "x=y", "e": "1"}}
    assert (job["job_id"], job["key"], job["priority"]) == (job_id, "k", -3)
    assert (job["due"], job["expires"]) == ("2199-05-01T00:00:00+00:00", "2199-05-02T00:00:00+00:00")


def test_a_delay_and_an_expiry_may_be_said_from_now(tasks: Path) -> None:
    before = datetime.now(UTC)
    deferred(tasks, "restore", *LATER, "--expires", "7200")
    (job,) = listed(tasks)
    due, expires = (datetime.fromisoformat(job[key]) for key in ("due", "expires"))
    assert timedelta() <= due - before - timedelta(minutes=90) < timedelta(seconds=30)
    assert expires - due == timedelta(minutes=30)


def test_a_newer_job_of_a_key_replaces_the_older_by_default(tasks: Path) -> None:
    argv = ["restore", *LATER, "--key", "k"]
    first = deferred(tasks, *argv)
    assert deferred(tasks, *argv, "--on-conflict", "keep") == first
    refused = said(tasks, "defer", *argv, "--on-conflict", "raise")
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "'k'" in refused.stderr
    second = deferred(tasks, *argv)
    assert [(job["job_id"], job["state"]) for job in listed(tasks)] == [(second, "pending"), (first, "replaced")]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["restor"], "there is no task 'restor', did you mean 'restore'?"),
        (["restore"], "restore(): missing a required argument: 'classroom'"),
        (["restore", "--arg", "room=1"], "restore(): "),
        (["restore", "--arg", "classroom=B", "--arg", "until=soon"], "restore(): argument 'until': 'soon': "),
        (["broken", "--at", UNTIL, "--delay", "1"], "broken: at, delay: exclude each other; give one of them"),
        (["broken", "--key", "k" * 201], "broken: key: "),
    ],
)
def test_what_does_not_fit_the_task_is_one_line_and_nothing_is_stored(argv: list[str], words: str, tasks: Path) -> None:
    done = said(tasks, "defer", *argv)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"Error: {words}")
    assert listed(tasks) == []


@pytest.mark.parametrize(
    "argv",
    [
        ["defer", "broken", "--at", "2024-05-01T08:00:00"],
        ["defer", "broken", "--delay", "soon"],
        ["defer", "broken", "--delay=-1"],
        ["defer", "broken", "--delay", "9" * 400],
        ["defer", "broken", "--expires", "never"],
        ["defer", "broken", "--on-conflict", "merge"],
        ["defer", "broken", "--priority", "1.5"],
        ["defer", "broken", "--arg", "a"],
        ["defer", "broken", "--arg", "a=1", "--arg", "a=2"],
        ["cancel"],
        ["cancel", "--task", "broken"],
        ["cancel", "--key", "k"],
        ["cancel", "x", "--task", "broken", "--key", "k"],
        ["cancel", "x", "--key", "k"],
        ["jobs", "--state", "done"],
        ["jobs", "--limit", "3", "purge"],
        ["jobs", "purge", "--older-than", "old"],
    ],
)
def test_a_wrong_command_line_exits_with_2(argv: list[str], tasks: Path) -> None:
    assert said(tasks, *argv).exit_code == 2


def test_a_pending_job_is_cancelled_once_by_its_id_or_its_key(tasks: Path) -> None:
    first, second = (deferred(tasks, "restore", *LATER, *key) for key in ([], ["--key", "k"]))
    for argv in ([first], ["--task", "restore", "--key", "k"]):
        assert [said(tasks, "cancel", *argv).exit_code for _ in range(2)] == [0, 1]
    assert said(tasks, "cancel", second).stderr == f"Error: job {second} is cancelled\n"
    assert {job["state"] for job in listed(tasks)} == {"cancelled"}


def test_a_running_job_is_not_said_to_be_cancelled(tasks: Path) -> None:
    job_id = deferred(tasks, "broken")
    claimed(tasks)
    done = said(tasks, "cancel", job_id)
    assert (done.exit_code, done.stderr) == (1, f"Error: job {job_id} is running\n")


@pytest.mark.parametrize("argv", [["cancel", "x"], ["jobs", "show", "x"], ["jobs", "retry", "x"]])
def test_a_job_that_is_not_there_is_one_line(argv: list[str], tasks: Path) -> None:
    done = said(tasks, *argv)
    assert (done.exit_code, done.stderr) == (1, "Error: there is no job 'x' (any more)\n")


@pytest.mark.parametrize("argv", [["jobs", "--task", "restor"], ["cancel", "--task", "restor", "--key", "k"]])
def test_a_task_that_has_no_jobs_is_answered_by_the_one_that_was_meant(argv: list[str], tasks: Path) -> None:
    done = said(tasks, *argv)
    assert (done.exit_code, done.stderr) == (1, "Error: there is no task 'restor', did you mean 'restore'?\n")


def test_the_jobs_of_a_task_that_has_left_the_code_can_be_seen_and_cancelled(tasks: Path) -> None:
    deferred(tasks, "restore", *LATER, "--key", "k")
    (tasks / "crons.py").write_text("from pseudocron import Crons\ncrons = Crons()")
    assert len(listed(tasks, "--task", "restore")) == 1
    assert said(tasks, "cancel", "--task", "restore", "--key", "k").exit_code == 0


def test_check_shows_the_tasks_and_names_those_that_have_left_jobs_behind(tasks: Path) -> None:
    deferred(tasks, "restore", *LATER)
    assert "Warning: task" not in said(tasks, "check").stdout
    (tasks / "crons.py").write_text(TASKS.replace("def restore", "def restore_now"))
    done = pseudocron(tasks, "check")
    assert "restore_now: a task, retries=3" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(
        "Warning: task 'restore' is not registered here, but jobs of it are "
    )
    assert done.returncode == 0, "the configuration is right"


def test_jobs_can_be_asked_for_by_state_task_key_and_number(tasks: Path) -> None:
    one, two = deferred(tasks, "restore", *LATER), deferred(tasks, "restore", *LATER, "--key", "k")
    three = deferred(tasks, "broken")
    claimed(tasks, FAILED)

    def ids(*argv: str) -> list[str]:
        return [job["job_id"] for job in listed(tasks, *argv)]

    assert ids() == [three, two, one]
    assert ids("-n", "1") == ids("--task", "broken") == ids("--state", "failed") == [three]
    assert ids("--state", "failed", "--state", "pending") == [three, two, one]
    assert ids("--key", "k") == [two]


def test_the_table_says_why_a_job_failed_and_does_nothing_to_the_terminal(tasks: Path) -> None:
    job_id = deferred(tasks, "broken")
    claimed(tasks, FAILED)
    head, line = said(tasks, "jobs").stdout.splitlines()
    assert head.split() == ["JOB", "TASK", "STATE", "DUE", "KEY", "WHY", "ATTEMPTS"]
    assert line.startswith(f"{job_id}  broken  failed  ")
    assert "ValueError:  [2J" in line
    assert "\x1b" not in said(tasks, "jobs", "show", job_id).stdout


def test_show_tells_all_that_is_known_with_the_whole_error(tasks: Path) -> None:
    job_id = deferred(tasks, "broken", "--arg", "a=学")
    claimed(tasks, FAILED)
    *known, begin, end = said(tasks, "jobs", "show", job_id).stdout.splitlines()
    shown = dict(line.split(None, 1) for line in known)
    assert (shown["job_id"], shown["state"], shown["worker"]) == (job_id, "failed", "other:1")
    assert shown["arguments"] == '{"why":{"a":"学"}}'
    assert (begin, end) == ("  Traceback", "  ValueError:  [2J")
    assert json.loads(said(tasks, "jobs", "show", job_id, "--json").stdout) == listed(tasks)[0]


def test_a_retried_job_is_looked_at_at_once(tasks: Path) -> None:
    job_id = deferred(tasks, "broken")
    claimed(tasks, FAILED)
    assert pseudocron(tasks, "tick").returncode == 0
    lock = tasks / ".pseudocron/cron.lock"
    assert lock.stat().st_mtime > time.time() + 5, "the gate is fresh until then"
    assert said(tasks, "jobs", "retry", job_id).exit_code == 0
    assert lock.stat().st_mtime <= time.time()


def test_only_a_failed_job_whose_key_is_free_is_retried(tasks: Path) -> None:
    older = deferred(tasks, "broken", "--key", "k")
    assert said(tasks, "jobs", "retry", older).stderr == f"Error: job {older} is pending\n"
    claimed(tasks, FAILED)
    deferred(tasks, "broken", "--key", "k", "--delay", "60")
    done = said(tasks, "jobs", "retry", older)
    assert done.exit_code == 1
    assert "another pending job of broken has its key 'k'" in done.stderr


def test_purge_forgets_what_has_ended_and_nothing_else(tasks: Path) -> None:
    deferred(tasks, "broken")
    claimed(tasks, FAILED)
    pending = deferred(tasks, "restore", *LATER)
    assert said(tasks, "jobs", "purge").stdout == "0 jobs forgotten\n"
    assert said(tasks, "jobs", "purge", "--older-than", "1h").stdout == "0 jobs forgotten\n"
    assert said(tasks, "jobs", "purge", "--older-than", "0").stdout == "1 job forgotten\n"
    assert [job["job_id"] for job in listed(tasks)] == [pending]


def test_purge_goes_on_batch_by_batch_until_nothing_is_left(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("pseudocron.cli.jobs"), "PURGED", 1)  # a command has the module's name
    for _ in range(2):
        assert said(tasks, "cancel", deferred(tasks, "restore", *LATER)).exit_code == 0
    assert said(tasks, "jobs", "purge", "--older-than", "0").stdout == "2 jobs forgotten\n"


@pytest.mark.parametrize("argv", [["defer", "broken"], ["cancel", "x"], ["jobs", "retry", "x"], ["jobs", "purge"]])
def test_in_a_store_that_ends_with_its_process_nothing_can_be_changed(argv: list[str], tasks: Path) -> None:
    done = said(tasks, *argv, PSEUDOCRON_BACKEND="memory:")
    assert done.exit_code == 1
    assert "'memory:'" in done.stderr
