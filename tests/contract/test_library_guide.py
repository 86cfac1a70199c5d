"""docs/library.md: its examples print what the page says, and its tables have every public name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import Handle, Outcome, RunReader, RunTask, Supervisor
from tests.support.cli import environment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```output\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
OF_FUTURES = {"set_result", "set_exception", "set_running_or_notify_cancel"}


def test_every_example_says_what_it_prints() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") >= 5


@pytest.mark.parametrize(("program", "output"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_prints_what_the_page_says(tmp_path: Path, program: str, output: str) -> None:
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, output), done.stderr


@pytest.mark.parametrize("kind", [Supervisor, Handle, RunReader])
def test_the_reference_has_every_public_name(kind: type) -> None:
    names = {name for base in kind.__mro__ for name in vars(base) if not name.startswith("_")} - OF_FUTURES
    assert {name for name in names if f"`{name}" not in PAGE and f".{name}" not in PAGE} == set()


def test_the_reference_has_the_fields_of_outcomes_and_tasks() -> None:
    names = {name for name in dir(Outcome) if not name.startswith("_")} | {"key", "index", "outcome", *vars(RunTask)}
    inside = {"seq", "encoded", "encoding", "projection", "failure", "given_input", "encoded_input", "from_record"}
    assert {name for name in names - inside if not name.startswith("_") and f"`{name}`" not in PAGE} == set()
