"""Add the pages of the documentation site that are no files of docs/: a hook of mkdocs (see mkdocs.yml).

- README.md and its neighbours at the root of the project. Their links lead to files of the checkout, so that they work
  on a forge; here they are led to the pages.
- The commands, from the commands themselves.
- The reference: every public name of each package. The packages load their names when they are first used, so the list
  is asked of the packages: a reader of their source would not find it.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Documents at the root of the project, and their pages on the site."""

REFERENCE = {
    "runtime": "What agents use, and any asyncio program: with a supervisor or without one.",
    "orchestrator": "What starts, stops and resumes runs from Python.",
    "runtime.testing": "For the tests of agents.",
    "orchestrator.testing": "For the tests of what a supervisor does.",
    "quiesce": "Every public name of `runtime` and of `orchestrator`: `from quiesce import Supervisor, agent`.",
}
"""The packages and modules of the reference, and what each is for.

A name that two packages export is described once, by the first one.
"""

LINK_FROM_ROOT = re.compile(r"\]\((?:docs/)?([^)#:\s]+)")
LINK_TO_ROOT = re.compile(r"\]\(((?:\.\./)*)\.\./([A-Z]+\.md)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages to those of docs/."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=link_to_pages(text)))
    sys.path.insert(0, str(ROOT))
    sys.path.insert(0, str(ROOT / "scripts"))
    commands: str = importlib.import_module("command_page").render()
    files.append(File.generated(config, "reference/commands.md", content=commands))
    for page, text in reference_pages():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links of docs/ to the root's pages, and have Markdown in <details> rendered, as a forge does by itself."""
    markdown = LINK_TO_ROOT.sub(lambda link: f"]({link[1]}{PAGES.get(link[2], link[2])}", markdown)
    return re.sub(r"<details\b", '<details markdown="1"', markdown)


def link_to_pages(text: str) -> str:
    """Lead the links of a document at the root of the project to pages of the site."""
    return LINK_FROM_ROOT.sub(lambda link: f"]({PAGES.get(link[1], link[1])}", text)


def reference_pages() -> list[tuple[str, str]]:
    """Return name and text of each page of the reference: a directive of mkdocstrings for each public name."""
    pages: list[tuple[str, str]] = []
    described: set[str] = set()
    for package, purpose in REFERENCE.items():
        module = importlib.import_module(package)
        places = {name: place_of(getattr(module, name)) for name in public_names(module)}
        new = [f"::: {place}" for place in places.values() if place not in described]
        known = [f"[`{name}`][{place}]" for name, place in places.items() if place in described]
        also = [f"Described elsewhere, and the same: {', '.join(known)}."] if known else []
        pages.append((f"reference/{package}.md", "\n\n".join([f"# {package}", purpose, *also, *new, ""])))
        described.update(places.values())
    return pages


def public_names(module: ModuleType) -> list[str]:
    """Return the names that a package says are public, or those that a module defines."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if f"{module.__name__}.{name}" == place_of(value)
    ]
    return sorted((name for name in names if not name.startswith("_")), key=str.lower)


def place_of(value: Any) -> str:
    """Return where a class or function is defined; for any other value, nothing that can be found."""
    return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', None)}"
