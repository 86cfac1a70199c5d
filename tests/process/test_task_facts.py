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


def test_each_slot_has_its_own_environment(tmp_path: Path) -> None:
    """Also an executor that takes the place of another."""
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", [{"key": f"k{n}"} for n in range(8)])
    words = ("-w", "2", "-j", journal, "--max-tasks-per-executor", "2", "--slot-env", "QM_DEVICE=gpu0,gpu1,gpu2")
    done = run_cli("run", agent("facts:device"), "-i", source, *words, "--slot-env", "QM_PORT=80,81", "--run-id", "r")
    assert done.returncode == 0, done
    seen = look(journal)
    assert len(seen.values) == 8
    for slot, at_import, device, port in seen.values.values():
        assert (at_import, device, port) == (f"gpu{slot}", f"gpu{slot}", f"8{slot}")
    assert seen.record.config["slot_env"] == {"QM_DEVICE": ["gpu0", "gpu1", "gpu2"], "QM_PORT": ["80", "81"]}


def test_fewer_values_than_workers_are_refused(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1])
    words = ("-w", "3", "-j", tmp_path / "j.db", "--slot-env", "QM_DEVICE=0,1")
    done = run_cli("run", agent("facts:device"), "-i", source, *words)
    assert done.returncode == 2, done
    assert (
        done.stderr
        == "quiesce: slot_env: QM_DEVICE has 2 values for 3 workers: give a value for each, or --workers 2\n"
    )
