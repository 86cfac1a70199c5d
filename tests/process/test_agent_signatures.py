"""Agents that take their input alone: functions, partials, methods and objects; by name, and from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from tests.process.agents import signatures
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import run_cli

RESULTS = {
    "signatures:plain": ["plain", 1],
    "signatures:plain_async": ["async", 1, "mild"],
    "signatures:partial": ["partial", 1, 7, "1"],
    "signatures:partial_async": ["async", 1, "loud"],
    "signatures:model": ["model", 1, 3],
    "signatures:model.method": ["model.method", 1],
}


@pytest.mark.parametrize("name", RESULTS)
def test_from_the_command_line(tmp_path: Path, name: str) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1])
    done = run_cli("run", agent(name), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
    assert done.returncode == 0, done
    assert look(tmp_path / "j.db").values == {"1": RESULTS[name]}


def test_a_builtin_may_be_an_agent(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", ["four"])
    done = run_cli("run", "builtins:len", "-i", source, "-w", "1", "-j", tmp_path / "j.db")
    assert done.returncode == 0, done
    assert look(tmp_path / "j.db").values == {"1": 4}


def test_from_python() -> None:
    offset = 10
    agents: list[Callable[[int], Any]] = [
        signatures.plain,
        signatures.plain_async,
        signatures.partial,
        signatures.Model("mine"),
        signatures.model.method,
        lambda number: number + offset,
    ]
    with Supervisor(workers=1, handle_signals=False) as supervisor:
        handles = [supervisor.submit(work, 1, key=f"k{index}") for index, work in enumerate(agents)]
        values = [handle.result() for handle in handles]
    assert values == [["plain", 1], ["async", 1, "mild"], ["partial", 1, 7, "k2"], ["mine", 1, 3],
                      ["model.method", 1], 11]  # fmt: skip


def test_a_traceback_begins_in_the_agent(tmp_path: Path) -> None:
    """None of quiesce's frames is in front, whatever the agent takes."""
    source = jsonl(tmp_path / "in.jsonl", [1])
    done = run_cli("run", agent("signatures:fails"), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
    assert done.returncode == 1, done
    lines = (look(tmp_path / "j.db").outcomes["1"].detail or "").splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith("in fails"), lines
    assert lines[-1] == "ValueError: no 1"
