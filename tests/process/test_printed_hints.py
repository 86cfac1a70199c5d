"""Every command that is printed for people to type next works as it is printed, from any directory."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator import RunMismatchError, Supervisor
from runtime.text import shell_word
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import QUIESCE, Completed, environment, run_cli, start_cli
from tests.support.sync import AnnouncementPipe, Gate

IDS = ["r", "a b'c", "-dash", "exp[/2026]", "$HOME;%s", "ü"]


def type_in(line: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Type a line into a shell, in another directory."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    path = f"{Path(QUIESCE[0]).parent}:/usr/bin:/bin"
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=elsewhere,
        env={**environment(), "PATH": path},
        check=False,
    )


def hint(done: Completed, before: str) -> str:
    """The command that a line ends with."""
    found = re.findall(rf"{before}(quiesce .*)$", done.stderr + done.stdout, re.MULTILINE)
    assert len(found) == 1, done
    return str(found[0])


def interrupted(tmp_path: Path, run_id: str, how: signal.Signals) -> Completed:
    """A run of two tasks that is ended while the first is held."""
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        held = {"key": "held", "post": post.path, "gate": gate.path}
        source = jsonl(tmp_path / "in.jsonl", [held, {"key": "b"}])
        with start_cli(
            "run", agent("plain:meet"), "-i", source, "-w", "1", "-j", tmp_path / "j.db", f"--run-id={run_id}",
            "--grace", "0.2", "--term-grace", "0.2",
        ) as running:  # fmt: skip
            post.expect()
            running.send(how)
            done = running.wait(15)
        gate.open()
    (tmp_path / "gate").touch()
    return done


@pytest.mark.parametrize("run_id", IDS)
def test_what_an_interrupted_run_says(tmp_path: Path, run_id: str) -> None:
    done = interrupted(tmp_path, run_id, signal.SIGTERM)
    said = hint(done, "To resume: ")
    shown = hint(run_cli("status", "-j", tmp_path / "j.db"), "to resume: ")
    assert shown == said
    again = run_cli(
        "run", agent("plain:meet"), "-i", tmp_path / "in.jsonl", "-j", tmp_path / "j.db", f"--run-id={run_id}"
    )
    assert said in again.stderr
    first = type_in(said, tmp_path)
    assert first.returncode in (0, 1), first  # the place where the held task would meet us is gone
    assert look(tmp_path / "j.db").record.starts == 2


def test_what_a_killed_run_says(tmp_path: Path) -> None:
    interrupted(tmp_path, "r", signal.SIGKILL)
    type_in(hint(run_cli("status", "-j", tmp_path / "j.db"), "its supervisor is gone; to resume: "), tmp_path)
    assert look(tmp_path / "j.db").record.starts == 2


@pytest.mark.parametrize("run_id", IDS)
def test_what_a_run_with_failures_says(tmp_path: Path, run_id: str) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1, 2, 3])
    arguments = ("run", agent("plain:fail_odd"), "-i", source, "-j", tmp_path / "j.db", f"--run-id={run_id}")
    shown = type_in(hint(run_cli(*arguments), "To see the failures: "), tmp_path)
    assert shown.returncode == 0, shown
    assert "2 of 3 tasks" in shown.stdout, shown
    again = run_cli(*arguments)
    found = re.search(r"to see it: (quiesce .*); or choose another id", again.stderr)
    assert found is not None, again
    assert type_in(found[1], tmp_path).returncode == 0


PROGRAM = """
import os, sys
from orchestrator import Supervisor
def work(x, state):
    if x == 2 and not os.path.exists("go"):
        state.request_interrupt(message="not yet")
        state.raise_if_interrupted()
    return x
if __name__ == "__main__":
    with {supervisor} as supervisor:
        print(sorted(outcome.value for outcome in supervisor.map(work, [1, 2, 3]) if outcome.ok))
        if not os.path.exists("go"):
            raise SystemExit(3)
"""


def run_program(tmp_path: Path, supervisor: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "program.py").write_text(PROGRAM.format(supervisor=supervisor))
    return subprocess.run(
        [sys.executable, "program.py"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )


def test_what_is_said_of_a_run_that_a_program_began(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    assert run_program(tmp_path, f'Supervisor(journal={str(journal)!r}, run_id="it\'s")').returncode == 3
    supervisor = ""
    pattern = r"start its program again, with (Supervisor\(.*\))"
    for done in (
        run_cli("status", "-j", journal),
        run_cli("resume", "it's", "-j", journal),
        run_cli("resume", "-j", journal),
    ):
        assert "quiesce resume" not in done.stdout + done.stderr
        found = re.search(pattern, done.stdout + done.stderr)
        assert found is not None, done
        supervisor = found[1]
    (tmp_path / "go").touch()
    again = run_program(tmp_path, supervisor)
    assert (again.returncode, again.stdout) == (0, "[1, 2, 3]\n"), again


def test_what_a_program_is_told_of_a_run_of_the_command_line(tmp_path: Path) -> None:
    interrupted(tmp_path, "r", signal.SIGTERM)

    def work(task_input: Any, state: Any) -> Any:
        return task_input

    with (
        pytest.raises(RunMismatchError) as caught,
        Supervisor(journal=tmp_path / "j.db", run_id="r", log=lambda *_: None) as supervisor,
    ):
        supervisor.submit(work, 1)
    found = re.search("resume it by `(quiesce .*)`", str(caught.value))
    assert found is not None
    type_in(found[1], tmp_path)
    assert look(tmp_path / "j.db").record.starts == 2


def test_what_is_said_of_an_array(tmp_path: Path) -> None:
    source = tmp_path / "a file.jsonl"
    source.write_text("[1, 2]\n")
    words = ["run", agent("plain:double"), "-i", str(source), "-j"]
    done = run_cli(*words, tmp_path / "j.db")
    as_tasks, as_one = re.findall(r"--input-format \w+", done.stderr)
    assert run_cli(*words, tmp_path / "tasks.db", *as_tasks.split()).returncode == 0
    assert look(tmp_path / "tasks.db").values == {"1": 2, "2": 4}
    assert run_cli(*words, tmp_path / "one.db", *as_one.split()).returncode == 0
    assert look(tmp_path / "one.db").values == {"1": [1, 2, 1, 2]}


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@example("it's \\ \x1b[2J\n'$(date)`date`")
@settings(max_examples=30, deadline=None)
def test_a_word_of_a_command_can_be_typed(word: str) -> None:
    quoted = shell_word(word)
    assert quoted.isprintable()
    typed = subprocess.run(
        ["bash", "-c", f"printf %s {quoted}"], stdout=subprocess.PIPE, timeout=90, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert typed.stdout.decode() == word
