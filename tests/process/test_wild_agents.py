"""Agents that misbehave harm only their own task."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from tests.process.helpers import Seen, agent, jsonl, look
from tests.support.cli import Completed, run_cli

WILD = agent("wild:misbehave")


def run_among_good(tmp_path: Path, wild: dict[str, Any], *options: str, timeout: float = 30) -> tuple[Completed, Seen]:
    """Run one wild task in the middle of good ones on two executors; how it ended, and what the journal says."""
    good: list[dict[str, Any]] = [{"key": f"good {number}"} for number in range(20)]
    source = jsonl(tmp_path / "in.jsonl", [*good[:5], {"key": "wild", **wild}, *good[5:]])
    journal = tmp_path / "j.db"
    done = run_cli("run", WILD, "-i", source, "-w", "2", "-j", journal, *options, timeout=timeout)
    seen = look(journal)
    unharmed = [key for key, outcome in seen.outcomes.items() if key != "wild" and outcome.ok and outcome.attempts == 1]
    assert len(unharmed) == 20, f"{done}\n{seen.statuses()}"
    assert seen.recorded == 21
    return done, seen


@pytest.mark.parametrize(
    ("wild", "value"),
    [
        ({"do": "prints"}, "printed"),
        ({"do": "changes_directory"}, "/"),
        ({"do": "leaves_threads"}, "left"),
        ({"do": "leaves_daemon"}, "left"),
        ({"do": "forks_and_returns"}, "parent"),
        ({"do": "forks_and_fails"}, "parent"),
        ({"do": "emits_much", "bytes": 300_000_000}, "went on"),
    ],
    ids=lambda it: it["do"] if isinstance(it, dict) else "",
)
def test_what_is_odd_but_ends_well_completes(tmp_path: Path, wild: dict[str, Any], value: Any) -> None:
    done, seen = run_among_good(tmp_path, wild)
    assert done.returncode == 0, done
    assert seen.values["wild"] == value
    assert seen.outcomes["wild"].attempts == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("wild", "error"),
    [
        ({"do": "sys_exits", "code": 0}, "SystemExit: 0"),
        ({"do": "sys_exits", "code": 3}, "SystemExit: 3"),
        ({"do": "raises", "what": "KeyboardInterrupt"}, "KeyboardInterrupt: on purpose"),
        ({"do": "raises", "what": "GeneratorExit"}, "GeneratorExit: on purpose"),
        ({"do": "raises", "what": "BaseException"}, "BaseException: on purpose"),
        ({"do": "raises", "what": "StopIteration"}, "StopIteration: on purpose"),
        ({"do": "raises_unspeakable"}, "UnspeakableError"),
        ({"do": "recurses"}, "RecursionError"),
        ({"do": "eats_memory"}, "MemoryError"),
        ({"do": "returns_socket"}, "the result cannot be kept: a socket"),
        ({"do": "returns_coroutine"}, "the result cannot be kept: the agent returned a coroutine"),
        ({"do": "returns_generator"}, "the result cannot be kept: the agent returned a generator"),
        ({"do": "returns_much", "bytes": 300_000_000}, "the result cannot be kept"),
    ],
    ids=lambda it: "-".join(map(str, it.values())) if isinstance(it, dict) else "",
)
def test_what_fails_fails_alone_and_its_executor_lives(tmp_path: Path, wild: dict[str, Any], error: str) -> None:
    done, seen = run_among_good(tmp_path, wild)
    assert done.returncode == 1, done
    outcome = seen.outcomes["wild"]
    assert outcome.status == "failed"
    assert (outcome.error or "").startswith(error), outcome.error
    assert outcome.attempts == 1
    assert "\n" not in (outcome.error or "")
    assert len(seen.named("executor.started")) == 2


@pytest.mark.parametrize(
    ("wild", "how"),
    [
        ({"do": "exits", "code": 0}, "exit code 0"),
        ({"do": "exits", "code": 3}, "exit code 3"),
        ({"do": "segfaults"}, "SIGSEGV"),
        ({"do": "closes", "first": 3}, "exit code 70"),
        ({"do": "closes", "first": 0}, "exit code 70"),
        ({"do": "replaces"}, "exit code 70"),
    ],
    ids=lambda it: "-".join(map(str, it.values())) if isinstance(it, dict) else "",
)
def test_what_kills_its_executor_is_failed_in_the_end(tmp_path: Path, wild: dict[str, Any], how: str) -> None:
    """Three times, then it is given up; how the executor died is in the record; no other task pays an attempt."""
    done, seen = run_among_good(tmp_path, wild)
    assert done.returncode == 1, done
    outcome = seen.outcomes["wild"]
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert how in outcome.error, outcome.error
    assert outcome.attempts == 3
    assert len(seen.named("task.crashed")) == 3


def processor_seconds() -> float:
    """What all that this process has started and waited for has used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_fifty_megabytes_of_result_take_a_reasonable_time(tmp_path: Path) -> None:
    before = processor_seconds()
    done, seen = run_among_good(tmp_path, {"do": "returns_much", "bytes": 50_000_000})
    assert done.returncode == 0
    assert len(seen.values["wild"]) == 50_000_000
    assert processor_seconds() - before < 10


def test_an_orphan_that_writes_for_ever_does_not_hold_the_run_up(tmp_path: Path) -> None:
    done, seen = run_among_good(tmp_path, {"do": "leaves_chatter"})
    assert done.returncode == 1
    assert "exit code 0" in (seen.outcomes["wild"].error or "")
