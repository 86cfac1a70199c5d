"""The first screen of README.md and the tutorial: everything on them works when it is copied into an empty folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.cli import ROOT
from tests.support.document_session import follow, pattern_of, read_blocks

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_SCREEN = README.partition("\n## ")[0]
LINES_OF_A_SCREEN = 90


def test_the_first_screen_is_one_screen() -> None:
    assert len(FIRST_SCREEN.splitlines()) <= LINES_OF_A_SCREEN


def test_everything_on_the_first_screen_works_in_an_empty_folder(tmp_path: Path) -> None:
    commands = [command.line for command in follow(FIRST_SCREEN, tmp_path)]
    run = "quiesce run agents.py:work --input cities.jsonl --workers 2"
    assert commands == [run, "quiesce results", run, "quiesce resume"]
    (agent,) = re.findall(r"^def work\(city\):\n(?: .*\n)+", (tmp_path / "agents.py").read_text(), re.MULTILINE)
    assert len(agent.splitlines()) == 3


def test_the_commands_that_set_up_are_there() -> None:
    """What they do is tested by themselves, and building and installing by tests/contract/test_packages.py."""
    plain = [body for name, language, body in read_blocks(FIRST_SCREEN) if not name and not language]
    commands = [line for body in plain for line in body.splitlines()]
    assert commands == [
        "pip install .",
        "pip wheel --no-deps --wheel-dir dist .",
        "pip install dist/quiesce-*.whl",
        "scripts/demo",
        "scripts/test",
    ]
    assert all(os.access(ROOT / name, os.X_OK) for name in commands if name.startswith("scripts/"))


LIKE = {
    "1 completed": "22 completed",
    "run 20261127-061232-ecf4: over": "run 20301231-235959-0000: over",
    "in /home/me/quiesce.db": "in /tmp/x/quiesce.db",
    "a … b": "a 1, 2 and b",
}


@pytest.mark.parametrize("expected", LIKE)
def test_what_is_printed_may_differ_in_numbers_ids_and_folders_alone(expected: str) -> None:
    assert [line for line in LIKE.values() if re.fullmatch(pattern_of(expected), line)] == [LIKE[expected]]


def test_everything_in_the_tutorial_works_in_an_empty_folder(tmp_path: Path) -> None:
    commands = follow((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), tmp_path)
    assert len(commands) == 11
    assert sum(command.is_interrupted for command in commands) == 2
