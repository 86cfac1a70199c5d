"""`quiesce --help`, `--version` and `quiesce` alone: what they print, and what they load to print it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command

from orchestrator import help_page, quick_answers
from orchestrator.cli import app, build
from orchestrator.version import VERSION
from tests.support.cli import environment, run_cli

LOADED = """
import atexit, sys
sys.argv = ["quiesce", *sys.argv[1:]]
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from orchestrator.entry import main
main()
"""
HEAVY = {"asyncio", "importlib.metadata", "msgspec", "pydantic", "rich", "runtime", "structlog", "typer", "typing"}


PAGE = help_page.render() or ""


def rows(title: str) -> dict[str, str]:
    """What the page says of each option or command."""
    body = PAGE.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
    lines = re.findall(r"^  (\S.*?)  +(\S.*(?:\n    .*)*)", body, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in lines}


def test_the_page_has_every_command_with_the_first_sentence_of_its_help() -> None:
    """Register a command by a line `app.command(...)(function)`; see the head of orchestrator/help_page.py."""
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    helps = {name: " ".join(command.help.split("\n\n")[0].split()) for name, command in commands.items()}
    assert rows("Commands") == {
        name: text.partition(". ")[0].removesuffix(".").replace("…", "...") + "." for name, text in helps.items()
    }


def test_the_page_has_every_option() -> None:
    parameters = {", ".join(sorted(option.opts, key=len)): option.help for option in build().params}
    assert rows("Options") == parameters


def test_the_page_says_what_quiesce_is_for() -> None:
    assert str(app.info.help) in PAGE.splitlines()


def test_the_page_is_for_every_terminal() -> None:
    assert PAGE.isascii()
    assert max(map(len, PAGE.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "code", "answer"),
    [
        (["--version"], 0, f"quiesce {VERSION}\n"),
        (["--help"], 0, PAGE),
        (["-h"], 0, PAGE),
        ([], 2, PAGE),
    ],
)
def test_the_answer_loads_next_to_nothing(arguments: list[str], code: int, answer: str) -> None:
    command = [sys.executable, "-S", "-c", LOADED, *arguments]  # -S: what else is installed has itself loaded at start
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (code, answer)
    assert set(done.stderr.split()) & HEAVY == set()


def test_a_mistake_beside_it_is_found() -> None:
    done = run_cli("--version", "--nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--nonsense" in done.stderr


def test_shells_are_still_answered_their_way() -> None:
    """Completion calls the command without arguments, and says so in the environment."""
    more = {quick_answers.COMPLETION: "complete_bash", "COMP_WORDS": "quiesce res", "COMP_CWORD": "1"}
    done = run_cli(env=more)
    assert done.stdout.split() == ["resume", "results"], done


def test_a_process_that_is_asked_as_a_module_answers_the_same() -> None:
    command = [sys.executable, "-m", "quiesce", "--help"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (0, run_cli("--help").stdout)
