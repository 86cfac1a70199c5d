"""A program's own log that raises: the run is over at once, and nothing of it goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.process.helpers import look
from tests.support.cli import Running, environment

PROGRAM = """
import os, signal, sys, time
import psutil
from orchestrator import Supervisor

journal, written, failing = sys.argv[1:]
before = signal.getsignal(signal.SIGTERM)

def talk(_, state):
    print("ready", flush=True)
    for stream in sys.stdout, sys.stderr:
        print("a line", file=stream, flush=True)
    open(written, "x").close()
    state.sleep(600)

class FullDisk:
    has_failed = False

    def __call__(self, name, severity, fields):
        if fields.get("line") == "ready":
            while not os.path.exists(written):  # both streams have a line then: one is left when the other one fails
                time.sleep(0.01)
        elif name == "executor.output" or (self.has_failed and failing == "everything"):
            self.has_failed = True
            raise ValueError("the log is full")

try:
    with Supervisor(workers=1, journal=journal, run_id="log", log=FullDisk()) as supervisor:
        supervisor.submit(talk, 1).result()
except Exception as error:
    print(f"{type(error).__name__}: {error}")
print([child.pid for child in psutil.Process().children(recursive=True) if child.status() != "zombie"])
print(signal.getsignal(signal.SIGTERM) is before)
"""


@pytest.mark.parametrize("failing", ["output", "everything"])
def test_a_log_that_raises_leaves_no_process_behind(tmp_path: Path, failing: str) -> None:
    """The guardian got no order to end: its executors went on, and no supervisor recorded their outcomes."""
    words = [str(tmp_path / "j.db"), str(tmp_path / "written"), failing]
    with Running([sys.executable, "-c", PROGRAM, *words], env={**environment(), "TMPDIR": str(tmp_path)}) as running:
        done = running.wait(25)
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == ["ValueError: the log is full", "[]", "True"], done
    logged = look(tmp_path / "j.db").named("history.written")
    where = done.stderr if failing == "everything" else logged[0]["path"]
    assert str(next(tmp_path.glob("quiesce-history-*.jsonl"))) in where
    assert look(tmp_path / "j.db").named("run.finished")[0]["status"] == "interrupted"
