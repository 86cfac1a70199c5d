"""`-q`, `-v` and `--color` mean the same for every command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl
from tests.support.cli import Completed, run_cli

ESCAPE = "\x1b["


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbosity")
    assert run(folder, "first").returncode == 0
    return folder / "j.db"


def run(folder: Path, run_id: str, *options: str) -> Completed:
    source = jsonl(folder / "in.jsonl", [1, 2])
    return run_cli(
        "run", agent("plain:double"), "-i", source, "-w", "1", "-j", folder / "j.db", "--run-id", run_id, *options
    )


def test_a_quiet_run_that_completes_says_nothing(journal: Path) -> None:
    done = run(journal.parent, "quiet", "-q", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["completed"] == 2


def test_a_quiet_run_that_fails_says_so(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1, 2])
    done = run_cli("run", agent("plain:fail_odd"), "-i", source, "-w", "1", "-j", tmp_path / "j.db", "-q")
    assert done.returncode == 1
    assert "task.failed" in done.stderr
    assert "1 completed, 1 failed" in done.stderr
    assert "executor.started" not in done.stderr


def test_a_verbose_run_has_lines_of_level_debug_unless_a_level_is_given(journal: Path) -> None:
    assert "run.finished" in run(journal.parent, "verbose", "-v").stderr
    assert "run.finished" not in run(journal.parent, "level", "-v", "--log-level", "error").stderr


@pytest.mark.parametrize("command", ["status", "failures", "results"])
def test_a_verbose_error_has_its_traceback_before_its_line(journal: Path, command: str) -> None:
    done = run_cli(command, "none", "-j", journal, "-v")
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback")
    plain = run_cli(command, "none", "-j", journal)
    assert done.stderr.splitlines()[-1] == plain.stderr.rstrip("\n")
    assert plain.stderr.count("\n") == 1


def test_the_options_may_stand_before_the_command(journal: Path) -> None:
    source = jsonl(journal.parent / "in.jsonl", [1])
    words = ("run", agent("plain:double"), "-i", source, "-w", "1", "-j", journal, "--run-id")
    assert run_cli("-q", *words, "before").stderr == ""
    assert "run.finished" in run_cli("--verbose", *words, "verbose before").stderr
    assert ESCAPE in run_cli("--color", "always", "status", "-j", journal).stdout
    assert ESCAPE not in run_cli("--color=always", "status", "-j", journal, "--color", "never").stdout
    both = run_cli("-q", "status", "-v", "-j", journal)
    assert (both.returncode, both.stderr.count("\n"), "contradict" in both.stderr) == (2, 1, True), both
    assert ESCAPE in run_cli("--color", "always", "--help").stdout
    wrong = run_cli("--color", "pink", "runs")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1), wrong


def test_quiet_and_verbose_contradict_each_other(journal: Path) -> None:
    done = run_cli("status", "-q", "-v", "-j", journal)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "contradict" in done.stderr


def test_colours_are_as_the_option_says_even_with_no_color(journal: Path) -> None:
    assert ESCAPE in run_cli("status", "first", "-j", journal, "--color", "always").stdout
    assert ESCAPE not in run_cli("status", "first", "-j", journal, "--color", "never").stdout
    assert ESCAPE not in run_cli("status", "first", "-j", journal).stdout
    assert ESCAPE in run_cli("status", "--color", "always", "--help").stdout
    done = run(journal.parent, "coloured", "--color", "always")
    assert ESCAPE in done.stderr
