"""The report and the inputs of the audit example."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from auditlib import report
from auditlib.commands import INSTALLED, app, tasks
from auditlib.source import parse
from auditlib.stages import STAGES

FILES = {
    "alone.py": "import sys\nimport pack.one\nimport yaml\n",
    "pack/__init__.py": '"""A package."""\n',
    "pack/one.py": "import sys\ndef g(a=[]):\n    if a: return sys\n",
    "tests/test_it.py": "def test(): assert (1, 'x')\n",
}


def rows() -> list[dict[str, Any]]:
    audited = []
    for key, text in FILES.items():
        source = parse(key, text.encode(), lambda: None)
        value = {name: stage(source, lambda: None) for name, stage in STAGES.items()}
        audited.append({"key": key, "status": "completed", "value": value, "error": None})
    unreadable = {"key": "bad.py", "status": "completed", "value": {"unreadable": "line 1: bad"}, "error": None}
    return [*audited, unreadable, {"key": "slow.py", "status": "failed", "value": None, "error": "timeout: 5 s"}]


def shown(audited: list[dict[str, Any]], *, tests: bool) -> list[list[str]]:
    """The words of each line of the report."""
    out = io.StringIO()
    report.show(audited, Console(file=out, width=120), tests=tests)
    assert "\x1b" not in out.getvalue()
    return [line.split() for line in out.getvalue().splitlines()]


def test_report() -> None:
    """Each part is there, and says what the results say."""
    lines = shown(rows(), tests=False)
    assert ["files", "4", "3"] in lines
    assert ["pack", "2", "4", "2.0", "33%", "1"] in lines
    assert ["2", "2", "g", "pack/one.py:2"] in lines
    assert ["3", "alone.py", "3", "unused-import"] in lines
    assert ["sys", "(2),", "pack", "(1),", "yaml", "(1)"] in lines
    assert ["yaml", "(1)"] in lines
    assert [
        "1",
        "mutable-default",
        "pack/one.py:2",
        "g",
        "has",
        "a",
        "default",
        "that",
        "its",
        "calls",
        "share",
    ] in lines
    assert ["slow.py", "failed:", "timeout:", "5", "s"] in lines
    assert ["bad.py", "line", "1:", "bad"] in lines


def test_test_code_is_ranked_on_request() -> None:
    """Tests are counted, and their findings are shown only if the user asks for them."""
    assert not any("assert-tuple" in line for line in shown(rows(), tests=False))
    assert any("assert-tuple" in line for line in shown(rows(), tests=True))


def test_an_empty_run_has_a_report() -> None:
    """Stopped before anything was finished: a report all the same."""
    assert ["files", "0", "0"] in shown([], tests=False)


def test_what_is_not_a_result_is_refused() -> None:
    """One clear line, no traceback."""
    result = CliRunner().invoke(app, ["report"], input="no JSON\n")
    assert (result.exit_code, "is not the output of" in result.output) == (2, True)


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()


def test_inputs_are_sorted_and_skip_what_is_hidden(tmp_path: Path) -> None:
    """The same inputs every time: no caches, no hidden folders, no other files."""
    make_files(tmp_path, "b.py", "a/c.py", "a/__pycache__/d.py", "site-packages/e.py", ".hidden/f.py", "a/g.txt")
    printed = CliRunner().invoke(app, ["inputs", str(tmp_path)]).stdout.splitlines()
    assert [json.loads(line)["key"] for line in printed] == ["a/c.py", "b.py"]


def test_keys_are_how_files_are_imported(tmp_path: Path) -> None:
    """A package keeps its name when it is audited alone; the first of two files of one name counts."""
    make_files(tmp_path, "x/a/__init__.py", "x/a/b/__init__.py", "x/a/b/c.py", "y/a/b/c.py", "y/d.py")
    found = {task["key"]: task["path"] for task in tasks([tmp_path / "x" / "a" / "b", tmp_path / "y"])}
    assert list(found) == ["a/b/__init__.py", "a/b/c.py", "d.py"]
    assert found["a/b/c.py"] == str(tmp_path / "x" / "a" / "b" / "c.py")


@pytest.mark.skipif(not INSTALLED[0].is_dir(), reason="this Python has no library on disk")
def test_the_default_is_large_enough() -> None:
    """The default inputs are a code base worth an audit."""
    assert sum(1 for _ in tasks(INSTALLED)) >= 1_500
