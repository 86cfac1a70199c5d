"""`quiesce status` is answered without the command line where that is possible, in the same words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl
from tests.support.cli import Completed, environment, run_cli

LOADED = """
import atexit, sys
sys.argv = ["quiesce", *sys.argv[1:]]
before = set(sys.modules)  # what else is installed may have itself loaded at start
atexit.register(lambda: print(*(set(sys.modules) - before), file=sys.stderr))
from orchestrator.entry import main
main()
"""


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with a run that is completed, one with a failed task, and one that was interrupted."""
    folder = tmp_path_factory.mktemp("status")
    journal = folder / "j ü.db"
    source = jsonl(folder / "in.jsonl", [1, 2])
    for run_id, name, more in (
        ("done", "signatures:plain", []),
        ("failed", "signatures:fails", []),
        ("stopped", "signatures:fails", ["--max-failures", "1"]),
    ):
        done = run_cli("run", agent(name), "-i", source, "-w", "1", "-j", journal, f"--run-id={run_id}", *more)
        assert done.returncode in (0, 1, 75), done
    return journal


def answers(*quick: str | Path, slow: list[str | Path]) -> tuple[Completed, Completed]:
    return run_cli("status", *quick), run_cli("status", *slow)


@pytest.mark.parametrize("run", ["done", "failed", "stopped", "don", "none", ""])
@pytest.mark.parametrize("json", [True, False])
def test_both_ways_say_the_same(journal: Path, run: str, json: bool) -> None:
    """An option that is written together with its value is left to the command line."""
    words = [*([run] if run else []), *(["--json"] if json else [])]
    quick, slow = answers(*words, "-j", journal, slow=[*words, f"-j{journal}"])
    assert (quick.returncode, quick.stdout, quick.stderr) == (slow.returncode, slow.stdout, slow.stderr)
    assert quick.returncode == (2 if run == "none" else 0), quick


@pytest.mark.parametrize("words", [["a", "b"], ["--nonsense"], ["-j"], ["-j", "none.db"], ["--journal="], ["-j", "."]])
def test_mistakes_are_left_to_the_command_line(tmp_path: Path, words: list[str]) -> None:
    done = run_cli("status", *words, cwd=tmp_path)
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("quiesce: ")
    assert list(tmp_path.iterdir()) == []


def test_the_journal_may_be_named_in_the_environment(journal: Path) -> None:
    done = run_cli("status", "done", env={"QUIESCE_JOURNAL": str(journal)})
    assert done.stdout == run_cli("status", "done", "--journal", journal).stdout
    assert done.returncode == 0, done


def test_neither_typer_nor_pydantic_is_loaded(journal: Path) -> None:
    command = [sys.executable, "-c", LOADED, "status", "done", "-j", str(journal)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done
    assert "completed" in done.stdout
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert loaded.isdisjoint({"typer", "pydantic", "rich", "structlog", "asyncio", "cloudpickle", "psutil"})
