"""`quiesce failures` and `quiesce show`: why tasks failed, by cause; and the last lines of a run that had failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.process.helpers import jsonl
from tests.support.cli import Completed, run_cli

AGENT = """
import json, os

def work(number, state):
    if number < 0:
        os.abort()
    if number % 5 == 0:
        return json.loads("{" + str(number))
    if number % 3 == 0:
        return check(number)
    return number

def check(number):
    raise ValueError(f"{number} is bad")
"""
CHECK = "ValueError at agents.py:14 in check"
JSON = "json.decoder.JSONDecodeError at agents.py:8 in work"
ABORT = "the executor died: SIGABRT"


def run(folder: Path, inputs: list[int], *options: str) -> Completed:
    """Run the agent above over numbers, as run r of the journal j.db."""
    (folder / "agents.py").write_text(AGENT)
    source = jsonl(folder / "in.jsonl", inputs)
    return run_cli(
        "run", "agents.py:work", "-i", source, "-j", folder / "j.db", "--run-id", "r", "-w", "2", *options, cwd=folder
    )


def query(folder: Path, *arguments: str) -> list[Any]:
    done = run_cli(*arguments, "-j", folder / "j.db", "--json", cwd=folder)
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers up to 10, and one that ends its executor."""
    folder = tmp_path_factory.mktemp("failures")
    done = run(folder, [*range(1, 11), -1])
    assert done.returncode == 1, done
    lines = done.stderr.splitlines()
    assert lines[-5].startswith("run r: failed after "), done
    assert lines[-4] == f"  3 tasks: {CHECK} (for example task 3: ValueError: 3 is bad)", done
    assert lines[-3].startswith(f"  2 tasks: {JSON} (for example task 5: JSONDecodeError: Expecting property name "), (
        done
    )
    assert lines[-2].startswith(f"  1 task: {ABORT} (for example task 11: the executor died: SIGABRT"), done
    assert lines[-1] == f"To see the failures: quiesce failures r --journal {folder / 'j.db'}"
    return folder


def test_failures_are_grouped_by_cause(folder: Path) -> None:
    groups = query(folder, "failures")
    assert [(group["cause"], group["count"], group["example"]) for group in groups] == [
        (CHECK, 3, "3"),
        (JSON, 2, "5"),
        (ABORT, 1, "11"),
    ]
    assert groups[0]["frame"] == {"file": str(folder / "agents.py"), "line": 14, "function": "check"}
    assert groups[2]["frame"] is None


def test_failures_for_people(folder: Path) -> None:
    done = run_cli("failures", "r", "-j", folder / "j.db")
    assert "6 of 11 tasks of run r failed:" in done.stdout, done
    assert f"  3 tasks: {CHECK}\n" in done.stdout, done


def test_a_task_is_shown_with_all_that_is_known(folder: Path) -> None:
    (shown,) = query(folder, "show", "r", "3")
    assert (shown["key"], shown["seq"], shown["input"], shown["attempts"]) == ("3", 3, 3, 1)
    assert shown["cause"] == CHECK
    assert shown["outcome"]["error"] == "ValueError: 3 is bad"
    assert "in check" in shown["outcome"]["detail"]
    assert [event["kind"] for event in shown["events"]] == ["task.failed"]


def test_a_task_is_shown_to_people(folder: Path) -> None:
    done = run_cli("show", "r", "3", "-j", folder / "j.db")
    assert done.returncode == 0, done
    for line in ("task       3 (number 3 of run r)", f"cause      {CHECK}", "ValueError: 3 is bad"):
        assert line in done.stdout.splitlines(), done
    assert "value      4" in run_cli("show", "r", "4", "-j", folder / "j.db").stdout.splitlines()


def test_every_attempt_is_shown_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text(
        "from quiesce import RetryLater\n\n"
        "def work(number, state):\n"
        "    if state.attempt == 1:\n        first(number)\n"
        "    if state.attempt == 2:\n        raise KeyError(number)\n"
        "    raise ValueError('third')\n\n"
        "def first(number):\n    raise OSError('down')\n"
    )
    source = jsonl(tmp_path / "in.jsonl", [7])
    done = run_cli(
        "run", "agents.py:work", "-i", source, "-j", tmp_path / "j.db", "--run-id", "r", "-w", "1",
        "--retries", "2", "--retry-delay", "0", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done
    assert "in first" not in done.stderr, "a line of the log has the error alone"
    (shown,) = query(tmp_path, "show", "r", "1")
    attempts = shown["failed_attempts"]
    assert [(found["attempt"], found["event"], found["error"]) for found in attempts] == [
        (1, "task.retrying", "OSError: down"), (2, "task.retrying", "KeyError: 7"),
    ]  # fmt: skip
    assert "in first" in attempts[0]["detail"]
    assert "in work" in attempts[1]["detail"]
    assert "ValueError: third" in shown["outcome"]["detail"]
    lines = run_cli("show", "r", "1", "-j", tmp_path / "j.db").stdout
    for text in (
        "attempt 1  ",
        "    raise OSError('down')\n",
        "attempt 2  ",
        "    raise KeyError(number)\n",
        "'third'",
    ):
        assert text in lines, lines
    for line in run_cli("events", "r", "-j", tmp_path / "j.db").stdout.splitlines():
        assert "Traceback" not in line
    events = query(tmp_path, "events", "r", "--kind", "task.retrying")
    assert "in first" in events[0]["data"]["detail"]


def test_many_retries_are_few_lines_and_all_events(tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text("def work(number):\n    raise OSError(number)\n")
    source = jsonl(tmp_path / "in.jsonl", range(300))
    words = ("run", "agents.py:work", "-i", source, "-j", tmp_path / "j.db", "--run-id", "r", "-w", "2")
    done = run_cli(*words, "--retries", "1", "--retry-delay", "0", "--log-format", "json", cwd=tmp_path)
    assert done.returncode == 1, done
    found = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    retrying = [line for line in found if line["event"] == "task.retrying"]
    assert 10 <= len(retrying) < 300
    assert len(query(tmp_path, "events", "r", "--kind", "task.retrying")) == 300


def test_lines_of_the_log_about_a_task_are_among_its_events(folder: Path) -> None:
    """Each crash is one; its key is in the data."""
    (shown,) = query(folder, "show", "r", "11")
    assert [event["kind"] for event in shown["events"]] == ["task.crashed"] * 3 + ["task.failed"]


def test_a_task_that_the_run_does_not_have(folder: Path) -> None:
    done = run_cli("show", "r", "nine", "-j", folder / "j.db")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "quiesce: run r has no task 'nine'\n")


def test_a_run_without_failures(tmp_path: Path) -> None:
    assert run(tmp_path, [1, 2]).returncode == 0
    assert query(tmp_path, "failures") == []
    assert run_cli("failures", "-j", tmp_path / "j.db").stdout == "no task of run r has failed\n"
