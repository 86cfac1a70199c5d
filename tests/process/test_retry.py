"""`quiesce retry`, `results --with-retries`, and the same from Python: a child run for what failed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor, failed_inputs, open_run, results_with_retries
from orchestrator.journal import open_journal
from runtime.errors import UsageError
from tests.process.helpers import jsonl
from tests.support.cli import Completed, run_cli

AGENT = """
import os

def work(number, state):
    if number % 2 and not os.path.exists("even"):
        raise ValueError(f"{number} is odd")
    if number % 3 == 0 and not os.path.exists("three"):
        raise KeyError(number)
    return 10 * number
"""
KEY_ERROR = "KeyError at agents.py:8 in work"


def quiesce(folder: Path, *arguments: str) -> Completed:
    return run_cli(*arguments, "-j", folder / "j.db", cwd=folder)


def read(folder: Path, *arguments: str) -> list[Any]:
    done = quiesce(folder, *arguments, "--json")
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def results(folder: Path, run: str, *options: str) -> dict[str, Any]:
    return {found["key"]: found["value"] or found["error"] for found in read(folder, "results", run, *options)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Run r of 1 to 6: 1, 3 and 5 fail with one error, 6 with another."""
    (tmp_path / "agents.py").write_text(AGENT)
    source = jsonl(tmp_path / "in.jsonl", range(1, 7))
    done = quiesce(tmp_path, "run", "agents.py:work", "-i", str(source), "--run-id", "r", "-w", "1")
    assert done.returncode == 1, done
    return tmp_path


def parents(folder: Path) -> dict[str, int | None]:
    with open_journal(folder / "j.db", "read") as journal:
        return {run.run_id: run.parent for run in journal.runs()}


def test_a_retry_is_a_run_of_what_failed(folder: Path) -> None:
    before = results(folder, "r")
    (folder / "even").touch()
    done = quiesce(folder, "retry", "r", "--workers", "2")
    assert done.returncode == 1, done
    assert "run r-retry: failed" in done.stderr
    assert parents(folder) == {"r": None, "r-retry": 1}
    assert results(folder, "r-retry") == {"1": 10, "3": "KeyError: 3", "5": 50, "6": "KeyError: 6"}
    assert results(folder, "r") == before, "terminal states never change"
    (parent,), (child,) = read(folder, "status", "r"), read(folder, "status", "r-retry")
    assert (parent["parent"], parent["retries"], child["parent"]) == (None, ["r-retry"], "r")
    assert "retried by r-retry, failed\n" in quiesce(folder, "status", "r").stdout
    assert "retries    r\n" in quiesce(folder, "status", "r-retry").stdout
    merged = {"1": 10, "2": 20, "3": "KeyError: 3", "4": 40, "5": 50, "6": "KeyError: 6"}
    assert results(folder, "r", "--with-retries") == merged
    (folder / "three").touch()
    assert quiesce(folder, "retry", "r").returncode == 0
    assert list(results(folder, "r-retry-2")) == ["3", "6"], "what a retry has completed is not retried"
    assert results(folder, "r", "--with-retries") == {str(n): 10 * n for n in range(1, 7)}
    assert list(results(folder, "r", "--with-retries", "--status", "failed")) == []
    nothing = quiesce(folder, "retry", "r")
    assert (nothing.returncode, nothing.stderr) == (2, "quiesce: run r has no failed task to retry\n")


def test_a_retry_may_have_other_arguments_and_settings(tmp_path: Path) -> None:
    """Those that are not given are the run's; a retry of the retry has what that had."""
    (tmp_path / "agents.py").write_text(
        "def work(number, *, limit=3, scale=1):\n"
        "    if number > limit:\n        raise ValueError(number)\n    return scale * number\n"
    )
    source = jsonl(tmp_path / "in.jsonl", range(1, 7))
    run = ("run", "agents.py:work", "-i", str(source), "--run-id", "r", "-w", "1", "--arg", "scale=10")
    assert quiesce(tmp_path, *run).returncode == 1
    assert quiesce(tmp_path, "retry", "r", "--arg", "limit=5", "--retries", "1", "--retry-delay", "0").returncode == 1
    assert results(tmp_path, "r-retry") == {"4": 40, "5": 50, "6": "ValueError: 6"}
    (last,) = (found for found in read(tmp_path, "results", "r-retry") if found["key"] == "6")
    assert last["attempts"] == 2
    wrong = quiesce(tmp_path, "retry", "r-retry", "--arg", "limits=6")
    assert (wrong.returncode, wrong.stderr.count("did you mean limit?")) == (2, 1), wrong
    (tmp_path / "more.toml").write_text("scale = 100\n")
    assert quiesce(tmp_path, "retry", "r-retry", "--config", "more.toml", "--arg", "limit=6").returncode == 0
    assert results(tmp_path, "r-retry-retry") == {"6": 600}
    (status,) = read(tmp_path, "status", "r-retry-retry")
    assert status["agent"]["args"] == {"limit": 6, "scale": 100}


def test_a_retry_inherits_labels(folder: Path) -> None:
    with open_journal(folder / "j.db") as journal:
        journal.label_run(journal.get_run("r").id, {"team": "a", "stage": "first"})
    assert quiesce(folder, "retry", "r", "--label", "stage=second", "--label", "x=1").returncode == 1
    (status,) = read(folder, "status", "r-retry")
    assert status["labels"] == {"team": "a", "stage": "second", "x": "1"}
    bad = quiesce(folder, "retry", "r", "--label", "quiesce/retries=x")
    assert (bad.returncode, "are quiesce's own" in bad.stderr) == (2, True), bad
    with Supervisor(workers=1, journal=folder / "j.db", retry_of="r", labels={"y": "2"}, log=quiet) as supervisor:
        list(supervisor.map(double, [3]))
    assert dict(open_run(folder / "j.db", supervisor.run_id).labels) == {"team": "a", "stage": "first", "y": "2"}
    with pytest.raises(UsageError, match="labels: 'a b': 'x' is no label"):
        Supervisor(labels={"a b": "x"})


def test_a_retry_outlives_the_run_that_it_retries(folder: Path) -> None:
    """Its run's id stays with it, and a family stays one when a run in its middle is removed."""
    assert quiesce(folder, "retry", "r", "--run-id", "middle").returncode == 1
    (folder / "even").touch()
    (folder / "three").touch()
    assert quiesce(folder, "retry", "middle", "--run-id", "last").returncode == 0
    assert quiesce(folder, "prune", "middle").returncode == 0
    assert parents(folder) == {"r": None, "last": 1}
    assert results(folder, "r", "--with-retries") == {str(n): 10 * n for n in range(1, 7)}
    assert "retries    middle (pruned)\n" in quiesce(folder, "status", "last").stdout
    (status,) = read(folder, "status", "last")
    assert (status["parent"], status["parent_pruned"], status["labels"]) == ("middle", True, {})
    assert quiesce(folder, "prune", "r").returncode == 0
    assert parents(folder) == {"last": None}
    assert "retries    middle (pruned)\n" in quiesce(folder, "status", "last").stdout


def test_a_success_is_not_replaced_by_a_later_failure(folder: Path) -> None:
    """A retry of a retry belongs to the family, too."""
    (folder / "even").touch()
    (folder / "three").touch()
    assert quiesce(folder, "retry", "r", "--key", "3", "--run-id", "first").returncode == 0
    (folder / "even").unlink()
    assert quiesce(folder, "retry", "r", "--key", "5", "--run-id", "second").returncode == 1
    (folder / "even").touch()
    assert quiesce(folder, "retry", "second", "--run-id", "third").returncode == 0
    assert parents(folder) == {"r": None, "first": 1, "second": 1, "third": 3}
    merged = {"1": "ValueError: 1 is odd", "2": 20, "3": 30, "4": 40, "5": 50, "6": "KeyError: 6"}
    assert results(folder, "r", "--with-retries") == merged


def test_the_command_that_is_printed_with_a_group_retries_that_group(folder: Path) -> None:
    (odd, three) = read(folder, "failures", "r")
    assert (odd["count"], three["count"]) == (3, 1)
    assert three["cause"] == KEY_ERROR
    shown = quiesce(folder, "failures", "r").stdout
    commands = re.findall(r"^    to retry: (quiesce .*)$", shown, re.MULTILINE)
    assert commands == [odd["retry"], three["retry"]]
    (folder / "three").touch()
    done = run_cli(*shlex.split(three["retry"])[1:], cwd=folder)
    assert done.returncode == 0, done
    assert results(folder, "r-retry") == {"6": 60}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key", "2"], "task '2' of run r has completed: only tasks that have failed are retried"),
        (["--key", "9"], "run r has no task '9'"),
        (["--where", "["], "'[' is not a regular expression: unterminated character set at position 0"),
        (["--where", "nothing like it"], "run r has no failed task that matches to retry"),
        (["--failed", "--key", "3"], "--failed means all tasks that failed: leave it out, or --key and --where"),
        (["--run-id", "r"], "there is a run r already"),
    ],
)
def test_what_is_refused(folder: Path, arguments: list[str], message: str) -> None:
    done = quiesce(folder, "retry", "r", *arguments)
    assert done.returncode == 2, done
    assert done.stderr.splitlines()[-1].startswith(f"quiesce: {message}"), done
    assert parents(folder) == {"r": None}


def test_a_retry_that_is_not_over_is_resumed_first(folder: Path) -> None:
    with open_journal(folder / "j.db") as journal:
        journal.create_run("begun", agent={"agent": "m:f"}, parent=1)
    done = quiesce(folder, "retry", "r")
    resume = f"quiesce resume begun --journal {folder / 'j.db'}"
    message = f"quiesce: run begun, which retries run r, is not over: to resume it: {resume}\n"
    assert (done.returncode, done.stderr) == (2, message)


def quiet(*_: object) -> None:
    pass


def halve(number: int, state: Any) -> float:
    return number / 2 if number != 3 else number / 0


def double(number: int, state: Any) -> int:
    return 2 * number


def test_the_same_from_python(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with Supervisor(workers=1, journal=path, run_id="r", log=quiet) as supervisor:
        list(supervisor.map(halve, [2, 3, 4], keys=["a", "b", "c"]))
    failed = failed_inputs(path, "r")
    assert failed == {"b": 3}
    assert failed_inputs(path, "r", where="^ZeroDivisionError at .* in halve$") == failed
    assert failed_inputs(path, "r", where="KeyError") == {}
    with Supervisor(workers=1, journal=path, retry_of="r", log=quiet) as supervisor:
        (outcome,) = supervisor.map(double, failed.values(), keys=failed.keys())
    assert outcome.value == 6
    assert [outcome.value for outcome in results_with_retries(path, "r")] == [1.0, 6, 2.0]
    assert failed_inputs(path, "r") == {}
    with pytest.raises(UsageError, match="task 'b' of run r has been completed by a retry"):
        failed_inputs(path, "r", keys=["b"])


def test_a_retry_needs_the_journal_of_its_parent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="retry_of = 'r': give the journal that has this run"):
        Supervisor(retry_of="r")
    with pytest.raises(UsageError, match="there is no run r"), Supervisor(journal=tmp_path / "j.db", retry_of="r"):
        pass
