"""Which failures are tried again, by real executors: exceptions by name, and tasks that ask for it by RetryLater."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import RetryLater
from tests.process.helpers import jsonl, look
from tests.support.cli import run_cli

AGENT = """
from quiesce import RetryLater

class Busy(ConnectionError):
    pass

def work(task, state):
    count = (state.snapshot or 0) + 1
    state.save_snapshot(count)
    if count <= task["times"]:
        raise {"busy": Busy("later"), "value": ValueError("never"), "later": RetryLater(0.01, "429")}[task["what"]]
    return count
"""


def run(folder: Path, tasks: list[Any], *options: str) -> dict[str, Any]:
    """Return of each task its value or error, and its attempts."""
    (folder / "agents.py").write_text(AGENT)
    source = jsonl(folder / "in.jsonl", tasks)
    arguments = ("-w", "1", "-j", str(folder / "j.db"), "--retry-delay", "0", "--log-format", "json", *options)
    run_cli("run", "agents.py:work", "-i", source, *arguments, cwd=folder)
    outcomes = look(folder / "j.db").outcomes.values()
    return {found.key: (found.value if found.ok else found.error, found.attempts) for found in outcomes}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--retry-on", "Busy"], {"1": (2, 2), "2": ("ValueError: never", 1)}),
        (["--retry-on", "OSError"], {"1": (2, 2), "2": ("ValueError: never", 1)}),
        (["--retry-on", "agents.Busy,KeyError"], {"1": (2, 2), "2": ("ValueError: never", 1)}),
        (["--no-retry-on", "ConnectionError"], {"1": ("Busy: later", 1), "2": (2, 2)}),
        ([], {"1": (2, 2), "2": (2, 2)}),
    ],
)
def test_exceptions_are_retried_by_name(tmp_path: Path, options: list[str], expected: dict[str, Any]) -> None:
    tasks = [{"what": "busy", "times": 1}, {"what": "value", "times": 1}]
    assert run(tmp_path, tasks, "--retries", "2", *options) == expected


def test_a_task_asks_to_be_tried_later(tmp_path: Path) -> None:
    """Without any retries, as often as it asks, and its snapshot is kept."""
    assert run(tmp_path, [{"what": "later", "times": 3}]) == {"1": (4, 1)}
    asked = look(tmp_path / "j.db").named("task.postponed")
    assert [(data["key"], data["seconds"], data["times"]) for data in asked] == [("1", 0.01, n) for n in (1, 2, 3)]
    assert asked[0]["error"] == "RetryLater: again in 0.01 s: 429"


def test_names_come_from_the_file_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "quiesce.toml").write_text('retries = 1\nretry_on = ["Busy", "KeyError"]\n')
    tasks = [{"what": "busy", "times": 1}, {"what": "value", "times": 1}]
    assert run(tmp_path, tasks) == {"1": (2, 2), "2": ("ValueError: never", 1)}
    recorded = look(tmp_path / "j.db").record.config
    assert json.loads(json.dumps(recorded))["retry_on"] == ["Busy", "KeyError"]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "3"])
def test_seconds_that_are_none(seconds: Any) -> None:
    with pytest.raises(ValueError, match="seconds must be"):
        RetryLater(seconds)
