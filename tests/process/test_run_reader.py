"""`open_run` beside real processes: a run of the command line, and one whose supervisor was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import open_run
from runtime.model import ExecutionStatus
from tests.process.helpers import jsonl
from tests.support.cli import environment, run_cli
from tests.support.wait import wait_until

AGENT = """
def work(line, state):
    if line == 2:
        print("before")
        raise ValueError("no two")
    return {"twice": line * 2}
"""

PROGRAM = """
import sys
from orchestrator import Supervisor
def work(seconds, state):
    state.sleep(seconds)
    return seconds
if __name__ == "__main__":
    with Supervisor(workers=1, journal=sys.argv[1], run_id="killed") as supervisor:
        supervisor.submit(work, 0, key="quick").result()
        supervisor.submit(work, 3600, key="slow").result()
"""


def test_a_run_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    source = jsonl(tmp_path / "in.jsonl", [1, 2, 3])
    done = run_cli("run", f"{tmp_path / 'agent.py'}:work", "-i", source, "-j", tmp_path / "j.db", "-w", "1")
    assert done.returncode == 1, done
    run = open_run(tmp_path / "j.db")
    assert run.status is ExecutionStatus.FAILED
    assert [(task.index, task.input, str(task.status)) for task in run.tasks()] == [
        (0, 1, "completed"), (1, 2, "failed"), (2, 3, "completed"),
    ]  # fmt: skip
    assert [outcome.value for outcome in run.outcomes("completed")] == [{"twice": 2}, {"twice": 6}]
    assert [event.kind for event in run.events()][-1] == "run.finished"
    assert [(line.key, line.text, line.stream) for line in run.output()] == [("2", "before", "stdout")]
    assert [line.text for line in run.output("2")] == ["before"]
    assert list(run.output("1")) == []
    with pytest.raises(KeyError, match="no task with the key '9'"):
        next(run.output("9"))


def test_a_run_is_read_while_it_lives_and_after_its_supervisor_was_killed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    journal = tmp_path / "j.db"
    program = subprocess.Popen([sys.executable, tmp_path / "program.py", journal], cwd=tmp_path, env=environment())
    try:
        wait_until(lambda: journal.exists() and has_both(journal), what="both tasks are in the journal")
        run = open_run(journal)
        assert (run.status, run.is_alive) == (ExecutionStatus.STARTED, True)
        assert [str(task.status) for task in run.tasks()] == ["completed", "awaiting"]
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait(60)
    assert (run.status, run.is_alive) == (ExecutionStatus.STARTED, False)
    assert [outcome.value for outcome in run.outcomes()] == [0]


def has_both(journal: Path) -> bool:
    """Whether both tasks are in the journal; it may not have its run yet."""
    done = run_cli("runs", "--json", "-j", journal)
    return done.returncode == 0 and bool(done.stdout) and open_run(journal).counts.total == 2
