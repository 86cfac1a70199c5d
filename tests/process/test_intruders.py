"""Agents that write into memory and pipes that are not theirs: it costs them, or one attempt of a neighbour's task."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.process.helpers import Seen, agent, jsonl, look
from tests.support.cli import Completed, run_cli

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the files of /proc are how it is done")

GOOD = 12


def run(tmp_path: Path, *wild: dict[str, Any], timeout: float = 45) -> tuple[Completed, Seen]:
    """Run wild tasks and then good ones on two executors. All tasks complete, and no traceback is printed."""
    marks = tmp_path / "marks"
    marks.mkdir()
    tasks = [*wild, *({"key": f"good {number}", "do": "good"} for number in range(GOOD))]
    source = jsonl(tmp_path / "in.jsonl", [{**task, "marks": str(marks)} for task in tasks])
    journal = tmp_path / "j.db"
    done = run_cli("run", agent("intruder:intrude"), "-i", source, "-w", "2", "-j", journal, timeout=timeout)
    seen = look(journal)
    assert done.returncode == 0, f"{done}\n{seen.statuses()}"
    assert "Traceback" not in done.stderr
    assert set(seen.statuses().values()) == {"completed"}
    assert seen.recorded == len(tasks)
    assert [key for key in seen.outcomes if key.startswith("good") and seen.outcomes[key].attempts > 1] == []
    return done, seen


def test_only_its_own_page_is_writable(tmp_path: Path) -> None:
    """What an agent scribbles there, is at most its own executor's."""
    _, seen = run(tmp_path, {"key": "wild", "do": "writes_memory"})
    assert seen.values["wild"] in ("wrote", "again")


def test_whoever_writes_to_the_flag_ends_by_it(tmp_path: Path) -> None:
    done, seen = run(tmp_path, {"key": "wild", "do": "writes_foreign_memory"})
    assert seen.values["wild"] == "again"
    assert "SIGSEGV" in done.stderr


@pytest.mark.parametrize("deed", ["writes_descriptors", "truncates_descriptors"])
def test_the_flag_is_not_writable_through_a_descriptor(tmp_path: Path, deed: str) -> None:
    _, seen = run(tmp_path, {"key": "wild", "do": deed})
    assert seen.outcomes["wild"].attempts == 1


def test_whoever_writes_to_all_its_descriptors_ends_alone(tmp_path: Path) -> None:
    """Its own pipes are among them, and the wake-up of all."""
    done, seen = run(tmp_path, {"key": "waits", "do": "sleeps"}, {"key": "wild", "do": "writes_all_descriptors"})
    assert seen.values["wild"] == "again"
    assert seen.outcomes["waits"].attempts == 1
    assert seen.values["waits"] == "nothing woke it", done


@pytest.mark.parametrize("pipe", ["tasks", "control", "events"])
def test_garbage_in_a_neighbours_pipe_costs_one_executor(tmp_path: Path, pipe: str) -> None:
    done, seen = run(
        tmp_path, {"key": "waits", "do": "waits"}, {"key": "wild", "do": "writes_neighbours_pipe", "pipe": pipe}
    )
    assert seen.values["wild"] == "wrote True"
    assert seen.outcomes["wild"].attempts == 1
    said = (
        "executor.protocol_error" if pipe == "events" else f"its {pipe} pipe holds what the supervisor has not written"
    )
    assert done.stderr.count(said) >= 1, done


def test_executors_share_no_pipe_and_the_wake_up_socket(tmp_path: Path) -> None:
    _, seen = run(tmp_path, {"key": "waits", "do": "waits"}, {"key": "wild", "do": "reads_descriptors"})
    assert "pipe" not in seen.values["wild"]
    assert seen.values["wild"].count("socket") == 1
