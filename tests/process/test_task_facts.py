"""What an agent may want to know of its task: key, attempt, run, slot and input."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support.cli import run_cli


@pytest.mark.parametrize("name", ["facts:fail_once", "facts:afail_once"])
def test_an_agent_knows_its_task(tmp_path: Path, name: str) -> None:
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", [{"key": "a"}, {"key": "b"}])
    words = ("-w", "1", "-j", journal, "--run-id", "r", "--retries", "1")
    done = run_cli("run", agent(name), "-i", source, *words)
    assert done.returncode == 0, done
    facts = {"attempt": 2, "run_id": "r", "slot": 0, "is_input": True}
    assert look(journal).values == {"a": {"key": "a", **facts}, "b": {"key": "b", **facts}}
