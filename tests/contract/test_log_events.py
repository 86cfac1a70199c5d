"""docs/log-events.md lists every log event that the supervisor writes, with its levels and its fields."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"[a-z_]+\.[a-z_]+")
LOGGERS = {"log", "_log", "note", "_note"}
"""What the functions and methods are called that write a log event: its name is the first argument."""


@dataclass
class Event:
    """A log event as the code or the page has it."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def called_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def calls_that_log(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called_name(node) in LOGGERS and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and NAME.fullmatch(name.value):
                yield name.value, node


def fields_of(call: ast.Call) -> Iterator[str]:
    """Yield the fields that can be read off a call: keyword arguments, and the keys of a dict that is written there."""
    yield from (keyword.arg for keyword in call.keywords if keyword.arg)
    for argument in call.args[1:]:
        if isinstance(argument, ast.Dict):
            yield from (str(key.value) for key in argument.keys if isinstance(key, ast.Constant))


def levels_of(call: ast.Call) -> Iterator[str]:
    """Yield the levels that a call may write: each `Severity.X` below its arguments, and `info` where there is none."""
    nodes = [node for argument in call.args[1:] for node in ast.walk(argument)]
    levels = [
        node.attr.lower() for node in nodes if isinstance(node, ast.Attribute) and "Severity." in ast.unparse(node)
    ]
    yield from levels or (["info"] if len(call.args) == 1 else [])


def events_of_the_code() -> dict[str, Event]:
    events: dict[str, Event] = defaultdict(Event)
    for path in sorted((ROOT / "orchestrator").rglob("*.py")):
        for name, call in calls_that_log(ast.parse(path.read_text(encoding="utf-8"))):
            events[name].levels.update(levels_of(call))
            events[name].fields.update(fields_of(call))
    return dict(events)


def events_of_the_page() -> dict[str, str]:
    """Return the rows of the page's table by name."""
    page = (ROOT / "docs" / "log-events.md").read_text(encoding="utf-8")
    return {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `")}


EVENTS_OF_TASKS = {"task.completed", "task.failed", "task.interrupted"}
"""In the journal only: the page names them below its table."""

CODE = events_of_the_code()
PAGE = events_of_the_page()


def test_the_page_has_the_events_of_the_code() -> None:
    assert sorted(PAGE) == sorted(CODE)


def test_no_other_document_names_an_event_that_is_not_there() -> None:
    """Examples show events, too. `task.cancel` and the like are asyncio's, `task.key` and the like the library's."""
    subjects = "|".join(sorted({name.partition(".")[0] for name in CODE}))
    like_an_event = re.compile(rf"(?<![\w./-])(?:{subjects})\.(?!(?:py|md)\b)[a-z_]+\b(?![(./])")
    known = {*CODE, *EVENTS_OF_TASKS}
    of_programs = {ROOT / "docs" / "from-asyncio.md", ROOT / "docs" / "library.md"}
    documents = {ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")} - of_programs
    found = {
        (path.name, name) for path in documents for name in like_an_event.findall(path.read_text(encoding="utf-8"))
    }
    assert {(where, name) for where, name in found if name not in known} == set()


@pytest.mark.parametrize("name", sorted(CODE))
def test_the_page_has_an_event_s_levels_and_fields(name: str) -> None:
    assert name in PAGE, f"docs/log-events.md has no row for {name}"
    _, _, level, _, fields = PAGE[name].split("|", 4)
    missing = {word for word in CODE[name].levels if not re.search(rf"\b{word}\b", level)}
    assert (missing or {word for word in CODE[name].fields if f"`{word}`" not in fields}) == set()
