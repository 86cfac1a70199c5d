"""Values, retries, output and progress of a run after a stop, after `kill -9`, and on a full disk; then the rest."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import open_run
from orchestrator.core.records import TERMINAL
from orchestrator.journal import open_journal
from runtime.errors import UsageError
from tests.process.helpers import jsonl
from tests.support.cli import Completed, Running, run_cli, start_cli
from tests.support.sync import Gate
from tests.support.wait import wait_until

AGENT = r"""
from tests.support.sync import is_open


def work(task, state):
    print(f"attempt {state.attempt}")
    if state.key == "flaky" and state.attempt == 1:
        raise OSError("not yet")
    if state.key == "held":
        begun = state.snapshot or 0
        print(f"begins at {begun}")
        state.progress(begun + 1, 2)
        state.save_snapshot(begun + 1)
        while not is_open(task["gate"]):
            state.sleep(0.01)
        return begun
    if state.key == "large":
        while not is_open(task["gate"]):
            state.sleep(0.01)
        return "x" * task["size"]
    return {"pair": (1, 2), "set": {3}, "bytes": b"\xff"}
"""
EXACT = {"pair": (1, 2), "set": {3}, "bytes": b"\xff"}
LARGE = 4 << 20


class Scene:
    """A run of a few tasks, one of which is held by a gate, with its journal in `place`."""

    def __init__(self, folder: Path, place: Path, gate: Gate, *more: dict[str, Any]) -> None:
        self.journal = place / "j.db"
        self.gate = gate
        self._agent = folder / "agents.py"
        self._agent.write_text(AGENT)
        tasks = [{"key": "held", "gate": gate.path}, {"key": "exact"}, {"key": "flaky"}, *more]
        self._source = jsonl(folder / "in.jsonl", tasks)

    def start(self) -> Running:
        words = ("run", f"{self._agent}:work", "-i", self._source, "-j", self.journal, "--run-id", "r", "-w", "3")
        return start_cli(*words, "--retries", "1", "--retry-delay", "0")

    def wait_until_held(self) -> None:
        """Wait until all but the held task has ended, and what that has said and saved is in the journal."""
        wait_until(lambda: self.done() == {"exact", "flaky"} and "begins at 0" in self.output("held"), 90, "the others")
        wait_until(
            lambda: self.output("flaky")[1:] and self.output("exact"), 90, "the last lines of tasks that have ended"
        )
        wait_until(lambda: self.status()["progress"] is not None, 90, "a report of the progress")

    def done(self) -> set[str]:
        with contextlib.suppress(UsageError), open_journal(self.journal, "read") as journal:  # it may not be there yet
            return {outcome.key for run in journal.runs() for outcome in journal.results(run.id, TERMINAL)}
        return set()

    def output(self, key: str) -> list[str]:
        """What a task has printed in all its attempts."""
        return [line.text for line in open_run(self.journal, "r").output(key)]

    def status(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(run_cli("status", "-j", self.journal, "--json").stdout)
        return shown

    def check_what_stays(self) -> None:
        """The two tasks that have ended: exact values, the retry with its cause, and what was printed."""
        outcomes = {outcome.key: outcome for outcome in open_run(self.journal).outcomes() if outcome.ok}
        assert outcomes["exact"].value == EXACT
        assert outcomes["flaky"].value == EXACT
        assert (outcomes["exact"].attempts, outcomes["flaky"].attempts) == (1, 2)
        shown = json.loads(run_cli("show", "r", "flaky", "-j", self.journal, "--json").stdout)
        assert [found["error"] for found in shown["failed_attempts"]] == ["OSError: not yet"]
        assert self.output("exact") == ["attempt 1"]
        assert self.output("flaky") == ["attempt 1", "attempt 2"]
        assert self.output("held")[:2] == ["attempt 1", "begins at 0"]

    def resume(self) -> Completed:
        """Go on to the end: the held task begins where it was, and nothing else runs again."""
        self.gate.open()
        done = run_cli("resume", "r", "-j", self.journal)
        assert done.returncode == 0, done
        self.check_what_stays()
        assert self.output("held")[-1] == "begins at 1", "its snapshot came back"
        held = next(outcome for outcome in open_run(self.journal).outcomes() if outcome.key == "held")
        assert (held.value, held.ok) == (1, True)
        status = self.status()
        assert (status["status"], status["starts"], status["progress"]) == ("completed", 2, None)
        return done


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path / "gate") as opened:
        yield opened


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path / "room") as opened:
        yield opened


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_after_a_stop_and_after_a_kill(tmp_path: Path, gate: Gate, number: signal.Signals) -> None:
    scene = Scene(tmp_path, tmp_path, gate)
    with scene.start() as running:
        scene.wait_until_held()
        running.send(number)
        assert running.wait().signal is number
    scene.check_what_stays()
    status = scene.status()
    assert status["tasks"]["completed"] == 2
    assert status["progress"] is None, "no supervisor is at work"
    scene.resume()


def test_on_a_full_disk(tmp_path: Path, gate: Gate, room: Gate) -> None:
    """A value for which there is no room stops the run in order: one line says why, and what was committed stays."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        pytest.skip("mounting a small file system needs root, and Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "quiesce-test", place], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        scene = Scene(tmp_path, place, gate, {"key": "large", "size": LARGE, "gate": room.path})
        with scene.start() as running:
            scene.wait_until_held()
            room.open()
            done = running.wait()
        assert done.returncode == 75, done
        assert re.search(r"^run r: interrupted .*the disk is full", done.stderr, re.MULTILINE), done
        assert "Traceback" not in done.stderr
        scene.check_what_stays()
        subprocess.run(["mount", "-o", "remount,size=32m", place], check=True)
        scene.resume()
        large = next(outcome for outcome in open_run(scene.journal).outcomes() if outcome.key == "large")
        assert len(large.value) == LARGE
    finally:
        subprocess.run(["umount", place], check=True)
