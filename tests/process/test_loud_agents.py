"""Agents that write without end: a stop takes what its graces allow, and what was not logged is counted."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support.cli import start_cli
from tests.support.sync import AnnouncementPipe, Gate

EXECUTORS = 8


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("name", ["prints", "warns", "blank"])
def test_a_flood_does_not_delay_a_stop(tmp_path: Path, name: str, log_format: str) -> None:
    """Each wrote far more than can be logged; the end of it is logged, with the stacks of who did not listen."""
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"post": post.path}] * EXECUTORS)
        words = ("run", agent(f"loud:{name}"), "-i", source, "-w", str(EXECUTORS), "-j", tmp_path / "j.db")
        graces = ("--grace", "0.5", "--term-grace", "1", "--log-format", log_format)
        with start_cli(*words, *graces, timeout=60) as running:
            post.expect(EXECUTORS, deadline=40)
            running.expect(r"executor\.output" if log_format == "json" else r"\d \|", count=1000, deadline=30)
            running.send(signal.SIGTERM)
            done = running.wait(15)
    assert done.returncode == -signal.SIGTERM, done
    seen = look(tmp_path / "j.db")
    assert set(seen.statuses().values()) == {"interrupted"}
    rungs = [each["rung"] for each in seen.named("ladder.rung")]
    assert "ABANDONED" not in rungs
    lost = seen.named("executor.output_lost")
    assert {each["slot"] for each in lost} == set(range(EXECUTORS))
    assert all(each["bytes"] > 0 for each in lost)
    assert "most recent call first" in done.stderr


def test_events_that_cannot_be_written_in_time_are_counted_and_not_kept(tmp_path: Path) -> None:
    """As output: memory does not grow with the grace, and the end does not wait for all that was emitted in it."""
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"post": post.path}] * EXECUTORS)
        words = ("run", agent("loud:emits"), "-i", source, "-w", str(EXECUTORS), "-j", tmp_path / "j.db")
        graces = ("--grace", "2", "--term-grace", "1", "--log-format", "json")
        with start_cli(*words, *graces, timeout=60) as running:
            post.expect(EXECUTORS, deadline=40)
            running.send(signal.SIGTERM)
            done = running.wait(30)
    assert done.returncode == -signal.SIGTERM, done
    seen = look(tmp_path / "j.db")
    assert set(seen.statuses().values()) == {"interrupted"}
    lost = seen.named("executor.events_lost")
    assert sum(each["events"] for each in lost) > 0
    assert len({each["slot"] for each in lost}) == len(lost)
    assert not seen.named("journal.failed")


def test_a_long_load_is_named_and_its_output_seen(tmp_path: Path) -> None:
    with Gate(tmp_path / "gate") as gate:
        source = jsonl(tmp_path / "in.jsonl", [1])
        words = ("run", agent("waiting_import:quick"), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
        with start_cli(*words, "--log-format", "json", env={"QM_GATE": gate.path}, timeout=60) as running:
            told = json.loads(running.expect(r".*agent\.loading.*", deadline=30))
            running.expect("this module waits")
            gate.open()
            done = running.wait()
    assert done.returncode == 0, done
    assert agent("waiting_import:quick").endswith(told["agent"])
    assert told["seconds"] >= 2
    stamps = re.findall(r'"timestamp": "([^"]+)"', done.stderr)
    assert stamps == sorted(stamps)
