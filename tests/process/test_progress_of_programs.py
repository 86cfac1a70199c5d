"""How far a run is, for a program that uses the library: on a terminal, in a pipe, by a callback, after a resume."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Progress, Supervisor
from orchestrator.config import SettingsOptions
from tests.process.agents.reporting import work
from tests.support.cli import Running
from tests.support.recorded_log import RecordedLog
from tests.support.sync import Gate
from tests.support.tmux import Terminal

PROGRAM = """
import sys

from orchestrator import Supervisor
from tests.process.agents.reporting import work

if __name__ == "__main__":
    tasks = [{"key": f"quick-{number}"} for number in range(5)]
    tasks += [{"key": "bad", "error": "no such page"}, {"key": "held", "gate": sys.argv[1], "done": 4, "total": 10}]
    with Supervisor(workers=2, journal="j.db", run_id="night", progress=True, progress_interval=0.2) as supervisor:
        for outcome in supervisor.map(work, tasks):
            print("got", outcome.key, outcome.status)
"""


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path / "gate") as opened:
        yield opened


def test_a_program_on_a_terminal_prints_above_the_display(tmp_path: Path, gate: Gate) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py", gate.path]
    with Terminal(columns=80, rows=24, cwd=tmp_path) as terminal:
        terminal.run(f"clear; {shlex.join(command)}")
        terminal.expect(r"night .*6/7$", deadline=60, history=False)
        terminal.expect(r"^  executor \d+ \(\d+\): held  4/10  \d+\.\d s$", history=False)
        terminal.expect(r"^got bad failed$", history=False)
        assert "task.failed" in terminal.screen()
        gate.open()
        terminal.expect(r"^got held completed$", deadline=60)
        assert terminal.status(deadline=60) == 0
        screen = terminal.screen(history=True)
    printed = [line for line in screen.splitlines() if line.startswith("got ")]
    quick = [f"got quick-{number} completed" for number in range(5)]
    assert printed == [*quick, "got bad failed", "got held completed"]
    assert "in flight" not in screen


def test_a_program_in_a_pipe_has_lines_on_standard_error(tmp_path: Path, gate: Gate) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with Running([sys.executable, "program.py", gate.path], cwd=tmp_path) as running:
        running.expect(r"run\.progress +done=6 total=7 .*failed=1 .*in_flight=1", deadline=60)
        gate.open()
        done = running.wait()
    assert done.returncode == 0, done
    assert "task.failed" in done.stderr
    assert done.stdout.count("got ") == 7
    assert "run.progress" not in done.stdout


def test_a_callback_knows_the_whole_run_after_a_resume(tmp_path: Path, gate: Gate) -> None:
    tasks = [{"key": f"quick-{number}"} for number in range(5)]
    tasks += [{"key": "bad", "error": "no"}]
    held: dict[str, Any] = {"key": "held", "gate": gate.path, "done": 4, "total": 10}

    def start(watch: Callable[[Progress], object]) -> Supervisor:
        options: SettingsOptions = {"workers": 2, "progress_interval": 0.05}
        return Supervisor(journal=tmp_path / "j.db", run_id="r", log=RecordedLog(), progress=watch, **options)

    def is_held(progress: Progress) -> bool:
        keys = [(task.key, task.done, task.total) for executor in progress.executors for task in executor.tasks]
        return progress.done == 6 and ("held", 4.0, 10.0) in keys

    seen: list[Progress] = []

    def stop(progress: Progress) -> None:
        if is_held(progress):
            supervisor.interrupt()

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if is_held(progress):
            gate.open()

    with start(stop) as supervisor:
        for task in [*tasks, held]:
            supervisor.submit(work, task)
    with start(watch) as supervisor:
        assert len(list(supervisor.map(work, [*tasks, held]))) == 7
    shown = next(filter(is_held, seen))
    assert (shown.total, shown.failed, shown.retried, shown.in_flight) == (7, 1, 0, 1)
    assert (seen[-1].done, seen[-1].completed, seen[-1].interrupted) == (7, 6, 0)
