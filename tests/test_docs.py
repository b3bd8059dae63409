"""What can be said to pseudocron stands in the reference, and the links of the documents lead somewhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from pseudocron import PseudoCronMiddleware
from pseudocron.backends.base import Outcome, Reason
from pseudocron.cli import main
from pseudocron.context import CurrentRun
from pseudocron.entries import OPTIONS
from pseudocron.settings import Settings

ROOT = Path(__file__).parent.parent
REFERENCE = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])

WORDS: dict[str, list[str]] = {
    "option of the middleware": [name for name in inspect.signature(PseudoCronMiddleware).parameters if name != "app"],
    "option of an entry": list(OPTIONS),
    "setting": [name for name in Settings.__dataclass_fields__ if name not in {"enabled", "folder"}],
    "variable": [f"PSEUDOCRON_{name.upper()}" for name in Settings.__dataclass_fields__ if name != "folder"],
    "part of a run": list(CurrentRun.__dataclass_fields__),
    "command": [f"pseudocron {name}" for name in main.commands],
    "outcome": list(Outcome),
    "reason": list(Reason),
}


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in WORDS.items() for word in words])
def test_it_stands_in_the_reference(kind: str, word: str) -> None:
    assert f"`{word}`" in REFERENCE, f"{kind} {word}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert not [link for link in links if not (document.parent / link).exists()]


def test_every_public_name_says_what_it_is() -> None:
    import pseudocron

    assert pseudocron.__all__ == sorted(pseudocron.__all__)
    assert all(inspect.getdoc(getattr(pseudocron, name)) for name in pseudocron.__all__)
