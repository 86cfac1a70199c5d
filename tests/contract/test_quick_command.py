"""What is parsed without typer means the same with typer, and everything else is left to it."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from orchestrator.cli import build
from orchestrator.cli.declare import for_typer
from orchestrator.cli.quick_command import MODULES, read_arguments
from tests.support.cli import QUIESCE, environment


def command(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(f"orchestrator.cli.{MODULES[name]}"), name)
    return found


def by_typer(name: str, words: list[str]) -> dict[str, Any] | None:
    """Return the values that typer passes to a command; None if it refuses the words."""
    seen: list[dict[str, Any]] = []

    @functools.wraps(command(name))
    def take(**values: Any) -> None:
        seen.append(values)

    app = typer.Typer(add_completion=False)
    app.command()(for_typer(take))
    result = CliRunner().invoke(app, words)
    return seen[0] if result.exit_code == 0 and seen else None


def without_nothing(values: dict[str, Any] | None) -> dict[str, Any]:
    """A list that is empty is one that was not given."""
    assert values is not None
    return {name: None if value == [] else value for name, value in values.items() if name != "context"}


USUAL = [
    ("runs", []),
    ("runs", ["--limit", "3", "--label", "a=b", "--label", "c=d", "--json"]),
    ("runs", ["--journal=j.db"]),
    ("status", ["r1", "-j", "j.db"]),
    ("results", ["r1", "--status", "failed", "--status", "completed", "--key", "k", "--format", "csv", "-o", "x.csv"]),
    ("results", ["-f", "--fields", "key,value"]),
    ("events", ["--from", "7", "--kind", "task.*", "--kind", "run.*", "--tail", "5", "-f"]),
    ("failures", ["r1", "--json"]),
    ("show", ["r1", "k1"]),
    ("logs", ["--key", "k", "--tail", "0"]),
    ("run", ["a.py:f", "-i", "x.jsonl", "--input", "y.csv", "-i", "-", "-w", "3", "--progress", "off"]),
    ("run", ["a.py:f", "--timeout", "1m30s", "--memory-limit", "1GiB", "--max-failures", "10%", "--preempt"]),
    ("run", ["m:f", "--no-preempt", "--slot-env", "A=1,2", "--slot-env", "B=3,4", "--retry-on", "OSError,x.Y"]),
    ("run", ["m:f", "--run-id", "r", "--or-resume", "--label", "a=b", "--arg", "n=3", "--config", "c.toml", "--json"]),
    ("run", ["m:f", "--log-format", "json", "--log-level", "debug", "--probe-port", "0", "--output", "out"]),
    ("resume", []),
    ("resume", ["r1", "--grace", "3", "--workers=2"]),
    ("retry", ["r1", "--key", "a", "--key", "b", "--run-id", "r2"]),
]


@pytest.mark.parametrize(
    ("name", "words"), USUAL, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_usual_arguments_mean_what_they_mean_to_typer(
    name: str, words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for journal in (None, "from-the-environment.db"):
        if journal is not None:
            monkeypatch.setenv("QUIESCE_JOURNAL", journal)
        quick = without_nothing(read_arguments(command(name), words))
        assert quick == without_nothing(by_typer(name, words))


UNUSUAL = [
    ("run", ["m:f", "-j", "4"]),
    ("run", ["--", "true"]),
    ("run", ["--help"]),
    ("run", ["m:f", "-q"]),
    ("run", ["m:f", "more"]),
    ("run", ["m:f", "--workers", "0"]),
    ("run", ["m:f", "--workers", "two"]),
    ("run", ["m:f", "--workers"]),
    ("run", ["m:f", "--workers", "--timeout"]),
    ("run", ["m:f", "-w3"]),
    ("run", ["m:f", "--wor", "3"]),
    ("run", ["m:f", "--grace", "1", "--grace", "2"]),
    ("run", ["m:f", "--preempt=yes"]),
    ("run", ["m:f", "--timeout", "soon"]),
    ("run", ["m:f", "--probe-port", "65536"]),
    ("run", ["m:f", "--progress", "OFF"]),
    ("run", ["m:f", "--input", ""]),
    ("run", ["m:f", "--", "-i", "x"]),
    ("run", ["m\n:f"]),
    ("show", ["r1"]),
    ("runs", ["--limit", "-1"]),
    ("runs", ["--color", "never"]),
    ("events", ["--from", "0"]),
]


@pytest.mark.parametrize(("name", "words"), UNUSUAL, ids=repr)
def test_anything_else_is_left_to_typer(name: str, words: list[str]) -> None:
    assert read_arguments(command(name), words) is None


def test_every_option_of_these_commands_is_understood() -> None:
    """A kind of option that `quick_command` does not know would make its command slow, always."""
    for name in MODULES:
        for parameter in build().commands[name].params:
            longest = max(parameter.opts, key=len)
            if longest.startswith("--") and not parameter.name.startswith("_") and parameter.is_flag:
                required = ["r1", "k1"][: sum(one.required for one in build().commands[name].params)]
                assert read_arguments(command(name), [*required, longest]) is not None, (name, longest)


@pytest.mark.parametrize("words", [["runs"], ["results"], ["events"], ["failures"], ["logs"], ["show", "r", "k"]])
def test_queries_load_neither_typer_nor_rich_nor_pydantic(words: list[str], tmp_path: Path) -> None:
    """Each in a fresh interpreter: what it has loaded when it ends, with a mistake of the user's or without."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write('LOADED ' + ' '.join(sys.modules)))\n"
        "from orchestrator.entry import main\nsys.argv = ['quiesce', *sys.argv[1:]]\nmain()\n"
    )
    made = [*QUIESCE, "run", "operator:neg", "-i", str(_inputs(tmp_path)), "--run-id", "r", "--progress", "off"]
    subprocess.run(made, cwd=tmp_path, env=environment(), capture_output=True, check=True)
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = {name.partition(".")[0] for name in done.stderr.rpartition("LOADED ")[2].split()}
    assert "sqlite3" in loaded, done
    assert loaded.isdisjoint({"typer", "click", "rich", "pydantic", "structlog", "asyncio"}), done.stderr


def _inputs(folder: Path) -> Path:
    path = folder / "inputs.jsonl"
    path.write_text("1\n")
    return path
