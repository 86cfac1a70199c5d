"""The documents are about this tree: the files that they name exist, and the decisions are written down in one form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import build

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FILE = re.compile(r"`((?:orchestrator|quiesce|runtime|scripts|tests|examples|docs)/[\w/.-]*)`")
"""A file of the project in a document's text; a module may stand without `.py`."""

OPTION = re.compile(r"`(--[a-z][a-z-]+)")
"""An option in a document's text."""

DECISIONS = sorted((ROOT / "docs" / "adr").glob("0*.md"))
HEADINGS = ["Context", "Decision", "Rejected", "Consequences"]
LINES_OF_A_PAGE = 60


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path.suffix in {"", ".py"})


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_the_files_that_a_document_names_exist(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert [name for name in FILE.findall(text) if not ((ROOT / name).exists() or (ROOT / f"{name}.py").exists())] == []


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_four_headings_on_one_page(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert len(text.splitlines()) <= LINES_OF_A_PAGE
    assert re.search(r"^Status: \w+.*Code: `", text, re.MULTILINE)


def test_the_index_has_every_decision_by_number_and_title() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| \[(.*?)\]\((.*?)\)", index, re.MULTILINE)
    titles = [path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for path in DECISIONS]
    assert [(f"{number}. {title}", name) for number, title, name in rows] == list(
        zip(titles, (path.name for path in DECISIONS), strict=True)
    )


def test_the_site_s_navigation_has_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = [str(path.relative_to("docs")) for path in DOCUMENTS if path.is_relative_to("docs")]
    assert [page for page in pages if not re.search(rf"[-:] {re.escape(page)}$", navigation, re.MULTILINE)] == []


def test_the_options_that_documents_name_exist() -> None:
    """Each is one of a command of quiesce, or of a program in scripts/ or examples/."""
    line = build()
    known = {
        option
        for command in (line, *line.commands.values())
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    programs = [path.read_text("utf-8") for folder in ("scripts", "examples") for path in files_below(ROOT / folder)]
    unknown = [
        f"{document}: {option}"
        for document in DOCUMENTS
        if document.name != "CHANGELOG.md"
        for option in OPTION.findall((ROOT / document).read_text(encoding="utf-8"))
        if option not in known and not any(option in program for program in programs)
    ]
    assert unknown == []


def test_the_readme_and_the_site_lead_to_every_page() -> None:
    """A page of the decisions is led to by their list."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert [page for page in pages if f"](docs/{page})" not in readme] == []
    assert [page for page in pages if f": {page}\n" not in site] == []
