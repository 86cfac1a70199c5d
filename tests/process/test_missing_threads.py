"""A host that has no thread left: one line says what it was for, and nothing goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look, runs_in
from tests.support.cli import Running, environment

WITHOUT = """
import sys, threading
missing = sys.argv.pop(1)
start = threading.Thread.start
def refuse(thread):
    if thread.name == missing:
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = refuse
"""

COMMAND = WITHOUT + "from orchestrator.entry import main\nmain()\n"

PROGRAM = (
    WITHOUT
    + """
import signal
import psutil
from orchestrator import Supervisor

def double(x, state):
    return 2 * x

before = signal.getsignal(signal.SIGTERM)
journal = sys.argv[1] if len(sys.argv) > 1 else None
try:
    with Supervisor(workers=1, journal=journal, log=lambda *_: None) as supervisor:
        print(supervisor.submit(double, 21).result())
except Exception as error:
    print(f"{type(error).__name__}: {error}")
print([child.pid for child in psutil.Process().children(recursive=True) if child.status() != "zombie"])
print(signal.getsignal(signal.SIGTERM) is before)
print([thread.name for thread in threading.enumerate() if thread.name.startswith("quiesce")])
"""
)


@pytest.mark.parametrize(
    ("missing", "code", "said"),
    [
        ("quiesce-supervisor", 2, "the guardian cannot be started: can't start new thread"),
        ("quiesce-probes", 2, "cannot start a thread for the probes: can't start new thread"),
        ("quiesce-input", 2, "cannot start a thread that reads standard input: can't start new thread"),
        ("quiesce-journal", 75, "cannot start a thread for the journal: can't start new thread"),
    ],
)
def test_the_command_says_which_thread_it_is_and_ends(tmp_path: Path, missing: str, code: int, said: str) -> None:
    words = ["run", agent("plain:double"), "-i", "-", "-j", str(tmp_path / "j.db"), "-w", "1", "--probe-port", "0"]
    with Running([sys.executable, "-c", COMMAND, missing, *words], env=environment(), stdin=subprocess.PIPE) as running:
        done = running.wait(25)
    assert done.returncode == code, done
    assert said in done.stderr, done
    assert "Traceback" not in done.stderr, done
    if code == 75:
        assert look(tmp_path / "j.db").record.status.value == "interrupted"
    else:
        assert done.stderr.count("\n") == 1, done
        assert runs_in(tmp_path / "j.db") == 0


def test_a_run_whose_journal_had_no_thread_goes_on_later(tmp_path: Path) -> None:
    source, journal = str(jsonl(tmp_path / "in.jsonl", range(3))), tmp_path / "j.db"
    words = ["run", agent("plain:double"), "-i", source, "-j", str(journal), "-w", "1", "--json"]
    with Running([sys.executable, "-c", COMMAND, "quiesce-journal", *words], env=environment()) as running:
        done = running.wait(25)
    assert done.returncode == 75, done
    assert json.loads(done.stdout)["pending"] == 3
    with Running([sys.executable, "-c", COMMAND, "none", "resume", "-j", str(journal)], env=environment()) as running:
        done = running.wait(25)
    assert done.returncode == 0, done
    assert len(look(journal).values) == 3


@pytest.mark.parametrize("with_journal", [False, True])
@pytest.mark.parametrize("missing", ["quiesce-supervisor", "quiesce-end", "quiesce-journal"])
def test_a_program_gets_an_error_and_its_process_back(tmp_path: Path, missing: str, with_journal: bool) -> None:
    words = [str(tmp_path / "j.db")] if with_journal else []
    with Running([sys.executable, "-c", PROGRAM, missing, *words], env=environment()) as running:
        done = running.wait(25)
    expected = {
        "quiesce-supervisor": "QuiesceError: the guardian cannot be started: can't start new thread",
        "quiesce-journal": "JournalError: cannot start a thread for the journal: can't start new thread",
    }
    is_used = missing == "quiesce-supervisor" or (missing == "quiesce-journal" and with_journal)
    first = expected[missing] if is_used else "42"
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [first, "[]", "True", "[]"], done
