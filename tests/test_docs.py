"""The documentation names each option, command, state and key; its links and paths exist; it has no retired words."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from prometheus_client import CollectorRegistry

from pseudocron import Crons, JobHandle, PseudoCronMiddleware, health, trigger
from pseudocron.backends import PLUGINS, SCHEMES
from pseudocron.backends import Options as StoreOptions
from pseudocron.backends.model import Reason, State
from pseudocron.backends.questions import Refusal
from pseudocron.backends.redis.schema import SCRIPTS
from pseudocron.cli import main
from pseudocron.cli.jobs import KEYS as JOB_KEYS
from pseudocron.cli.running import EXIT
from pseudocron.config.entries import OPTIONS
from pseudocron.config.settings import Settings
from pseudocron.context import CurrentRun
from pseudocron.dashboard import BasicAuth, BearerToken, NoAuth, dashboard
from pseudocron.endpoints.trigger import TriggerReport
from pseudocron.health_check import Config, HealthReport, Store
from pseudocron.hooks import Event, EventKind
from pseudocron.instrumentation.prometheus import instrument
from pseudocron.jobs.options import JOB_OPTIONS, JobOptions
from pseudocron.jobs.tasks import TASK_OPTIONS, TaskOptions
from pseudocron.polling import NoPoll
from pseudocron.report import SKIPPED, CronStatus, HistoryLine
from pseudocron.testing import DeferredJob, FakeScheduler, FinishedRun
from pseudocron.why import Fate, Waiting, Why
from pseudocron.worker.due import Overdue

ROOT = Path(__file__).parent.parent
REFERENCE = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])

WORDS: dict[str, list[str]] = {
    "option of the middleware": [name for name in inspect.signature(PseudoCronMiddleware).parameters if name != "app"],
    "option of an entry": list(OPTIONS),
    "setting": [name for name in Settings.__dataclass_fields__ if name not in {"enabled", "origin", "named"}],
    "variable": [
        f"PSEUDOCRON_{name.upper()}"
        for name in Settings.__dataclass_fields__
        if name not in {"folder", "origin", "named"}
    ],
    "part of a run": list(CurrentRun.__dataclass_fields__),
    "option of a task": list(TASK_OPTIONS),
    "option of a job": list(JOB_OPTIONS),
    "state": [*State, SKIPPED],
    "reason": list(Reason),
    "option of a store": list(StoreOptions.__dataclass_fields__),
    "entry point": [PLUGINS],
}
OF_JOBS = [state for state in State if state is not State.LOST]
"""The states that a job may have: one that is lost is pending again, or failed."""


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in WORDS.items() for word in words])
def test_it_stands_in_the_reference(kind: str, word: str) -> None:
    assert f"`{word}`" in REFERENCE, f"{kind} {word}"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_of_a_store_stands_in_the_reference(scheme: str) -> None:
    assert re.search(rf'`"{scheme}:', REFERENCE)


def commands(group: click.Group, before: str = "") -> dict[str, click.Command]:
    """The commands as they are typed, those of groups too."""
    found = {f"{before}{name}": command for name, command in group.commands.items()}
    inner = [commands(one, f"{name} ") for name, one in found.items() if isinstance(one, click.Group)]
    return {name: command for some in (found, *inner) for name, command in some.items()}


@pytest.mark.parametrize("name", commands(main))
def test_a_command_and_each_of_its_options_stand_in_the_reference(name: str) -> None:
    assert f"[`pseudocron {name}`](#pseudocron-{name.replace(' ', '-')})" in COMMANDS
    before, heading, rest = COMMANDS.partition(f"\n## `pseudocron {name}`\n")
    section = rest.partition("\n## ")[0]
    assert heading
    for option in commands(main)[name].params:
        if option.name == "ref":
            assert "`--crons`" in before
        elif isinstance(option, click.Option):
            assert all(f"`{word}`" in section for word in option.opts), option
        elif option.name in {"name", "task", "job_id"}:
            assert f"`pseudocron {name} {option.name.upper()}`" in section


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("list", {key.name for key in fields(CronStatus)}),
        ("next", {"slot", "due"}),
        ("history", {key.name for key in fields(HistoryLine)} | {"lateness", "duration"}),
        ("why", {key.name for key in fields(Why)}),
        ("jobs", set(JOB_KEYS)),
    ],
)
def test_the_keys_of_its_json_stand_in_the_reference_and_no_others(command: str, keys: set[str]) -> None:
    table = COMMANDS.partition(f"| key of `{command} --json` ")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == keys


@pytest.mark.parametrize("word", [*Fate, *Waiting])
def test_what_may_have_become_of_a_slot_stands_in_the_reference(word: str) -> None:
    section = COMMANDS.partition("\n## `pseudocron why`\n")[2].partition("\n## ")[0]
    assert f"`{word}`" in section


@pytest.mark.parametrize("outcome", EXIT)
def test_the_exit_code_of_an_outcome_stands_in_the_reference(outcome: State) -> None:
    assert f"\n| {EXIT[outcome]} | " in COMMANDS


ENDPOINTS = (ROOT / "docs/reference/endpoints.md").read_text(encoding="utf-8")
OF_ENDPOINTS: dict[str, list[str]] = {
    "option of trigger": [name for name in inspect.signature(trigger).parameters if name != "crons"],
    "option of health": [name for name in inspect.signature(health).parameters if name != "crons"],
    "key of a response of trigger": list(TriggerReport().as_json()),
    "reason for no poll": list(NoPoll),
    "refusal": list(Refusal),
    "key of health": [*HealthReport().as_json(verbose=True), *Overdue._fields],
    "state of the configuration": list(Config),
    "state of the store": list(Store),
}


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in OF_ENDPOINTS.items() for word in words])
def test_what_the_endpoints_take_and_return_stands_in_their_reference(kind: str, word: str) -> None:
    assert f"`{word}`" in ENDPOINTS, f"{kind} {word}"


JOBS = (ROOT / "docs/reference/jobs.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", [*OF_JOBS, *TaskOptions.__annotations__, *JobOptions.__dataclass_fields__])
def test_what_a_job_may_be_stands_in_the_reference_of_jobs(word: str) -> None:
    assert f"`{word}`" in JOBS


def public(value: object) -> set[str]:
    """The names that code completion shows of an object."""
    return {name for name in dir(value) if not name.startswith("_")}


def test_public_names_are_those_in_the_reference() -> None:
    crons = Crons()
    task = crons.task("task")(public)
    handle = JobHandle(id="id", task="task", key=None, _manager=task._manager)
    section = JOBS.partition("\n## Objects\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`[^|]*\| (`.*) \|$", section, re.MULTILINE)
    named = {name: set(re.findall(r"`(\w+)`", names)) for name, names in rows}
    objects: dict[str, object] = {"Crons": crons, "Task": task, "BoundTask": task.options(), "JobHandle": handle}
    assert named == {name: public(value) for name, value in objects.items()}


INSTRUMENTATION = (ROOT / "docs/reference/instrumentation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", [*EventKind, *Event.__dataclass_fields__])
def test_what_a_hook_gets_stands_in_the_reference_of_instrumentation(word: str) -> None:
    assert f"| `{word}` |" in INSTRUMENTATION


REDIS = (ROOT / "docs/reference/redis.md").read_text(encoding="utf-8")
LUA = "".join(script.body for script in SCRIPTS.values())
KEYS = {word for first in re.findall(r"\bkey\(([^(),]*)", LUA) for word in re.findall(r"'(\w+)'", first)}
NOT_STORED = {"job", "nothing"}
"""`run.kind == 'job'` in the expression of a key, and the key that is only deleted."""


@pytest.mark.parametrize("key", sorted(KEYS - NOT_STORED))
def test_what_is_stored_on_a_redis_server_stands_in_its_reference(key: str) -> None:
    assert re.search(rf"`{key}[`:]", REDIS)


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", REDIS, re.DOTALL))
def test_an_example_of_the_reference_makes_a_client_that_is_taken(example: str) -> None:
    names: dict[str, Any] = {"Crons": Crons}
    exec(example, names)  # noqa: S102 - it is ours
    assert Crons(backend=names["make_client"], app="shop")._connect() is not None
    assert callable(names["make_client"]().evalsha)


def test_each_metric_stands_in_the_reference_with_its_labels() -> None:
    registry = CollectorRegistry()
    instrument(Crons(), registry=registry)
    for metric in registry.collect():
        total = "_total" if metric.type == "counter" else ""
        assert f"| `{metric.name}{total}` |" in INSTRUMENTATION


DASHBOARD = (ROOT / "docs/reference/dashboard.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", inspect.signature(dashboard).parameters)
def test_an_option_of_the_dashboard_stands_in_its_reference(option: str) -> None:
    assert f"| `{option}` |" in DASHBOARD


@pytest.mark.parametrize("auth", [BasicAuth, BearerToken, NoAuth])
def test_each_way_in_stands_in_the_reference_of_the_dashboard(auth: type) -> None:
    names = ", ".join(inspect.signature(auth).parameters)
    assert f"| `{auth.__name__}({names})` |" in DASHBOARD


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert not [link for link in links if not (document.parent / link).exists()]


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings of a document, as GitHub makes them."""
    prose = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_anchors_are_headings(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text(encoding="utf-8"))
    missing = [
        (path, name) for path, name in links if name not in anchors(document.parent / path if path else document)
    ]
    assert not missing


def test_every_public_name_says_what_it_is() -> None:
    import pseudocron

    assert pseudocron.__all__ == sorted(pseudocron.__all__)
    assert all(inspect.getdoc(getattr(pseudocron, name)) for name in pseudocron.__all__)


@pytest.mark.parametrize("record", [FakeScheduler, FinishedRun, DeferredJob])
def test_the_help_for_tests_stands_in_the_reference_of_jobs(record: type) -> None:
    section = JOBS.partition("\n## In the tests of an application\n")[2]
    names = public(record) if record is FakeScheduler else {field.name for field in fields(record)}
    assert {name for name in names if not re.search(rf"`(await )?{name}\b", section)} == set()


DESIGN = (ROOT / "docs/explanation/design.md").read_text(encoding="utf-8")
PATHS = re.findall(r"`([\w./]+(?:\.py|/))`", DESIGN)


def test_the_design_has_a_table_of_files() -> None:
    assert len(PATHS) > 50
    assert len(DESIGN.splitlines()) <= 250


@pytest.mark.parametrize("path", sorted(set(PATHS)))
def test_a_file_that_the_design_names_is_there(path: str) -> None:
    assert (ROOT / "pseudocron" / path).exists() or (ROOT / path).exists()


RETIRED = re.compile(
    r"\b(mend(s|ed)?|whoever|nobody|somebody|anybody|c[oa]mes? by|doors?|strangers?|goes on|go on|lets go of|sees to"
    r"|looks? (once|again|and)|(a|each|every|next|the) look|(is|are) told|tr(y|ied) again|meanwhile|anew|by and by)\b",
    re.IGNORECASE,
)
"""Words that have a plainer one. In code they may be names."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_has_no_retired_words(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    assert not [found[0] for found in RETIRED.finditer(prose)]
