"""The helpers keep their own promises: hard limits, honest proofs, stacks when something is stuck."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support import procs
from tests.support.cli import Running
from tests.support.eof import ExitDetector
from tests.support.sync import AnnouncementPipe, Gate
from tests.support.tmux import Terminal
from tests.support.wait import wait_until


def python(code: str) -> list[str]:
    """A command that runs some Python."""
    return [sys.executable, "-c", textwrap.dedent(code)]


def test_wait_until_hands_back_the_value_and_tells_what_it_waited_for() -> None:
    answers = iter([None, "", 7])
    assert wait_until(lambda: next(answers), 5) == 7
    with pytest.raises(AssertionError, match=r"not within 0.01 s: pigs to fly"):
        wait_until(lambda: False, 0.01, "pigs to fly")


def test_a_command_ends_and_tells_how() -> None:
    """Output, exit status and signal are kept apart; more than a pipe's worth of output does not block it."""
    code = "import sys; print('o' * 300_000); print('e', file=sys.stderr); sys.exit(3)"
    with Running(python(code)) as running:
        done = running.wait()
    assert (done.returncode, done.signal, len(done.stdout), done.stderr) == (3, None, 300_001, "e\n")
    with Running(python("import signal; signal.raise_signal(signal.SIGTERM)")) as running:
        assert running.wait().signal is signal.SIGTERM


def test_expect_blocks_until_a_line_is_there_and_fails_once_it_cannot_come() -> None:
    with Running(python("import sys; print('up', flush=True); input(); print('down')"), stdin=-1) as running:
        running.expect("^up$", stream="stdout")
        running.write("\n")
        running.expect("^down$", stream="stdout")
        with pytest.raises(AssertionError, match="was not written"):
            running.expect("^sideways$", stream="stdout")


def test_a_stuck_command_fails_with_its_stacks_and_leaves_nothing() -> None:
    code = """
        import faulthandler, signal, subprocess, sys
        child = "import time\\ndef stuck_child():\\n  print('up', flush=True)\\n  time.sleep(60)\\nstuck_child()"
        def stuck_parent():
            subprocess.run([sys.executable, "-c", child])
        faulthandler.register(signal.SIGUSR1)
        stuck_parent()
    """
    with Running(python(code)) as running, pytest.raises(AssertionError) as caught:
        running.expect("up", stream="stdout")
        running.wait(0.1)
    text = str(caught.value)
    assert "did not end in time" in text
    assert "in stuck_child" in text
    assert "in stuck_parent" in text
    assert not running.tree()


def test_end_of_file_proves_the_death_of_a_detached_grandchild() -> None:
    """The proof does not come while a double-forked setsid grandchild lives, and comes when it has died."""
    code = """
        import os, signal, sys
        from tests.support.eof import hold
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                hold(sys.argv[1])
                signal.pause()
            os._exit(0)
    """
    with ExitDetector() as proof, Running([*python(code), proof.path]) as running:
        proof.wait_until_held()
        running.popen.wait()
        with pytest.raises(AssertionError, match=r"still there after 0.05 s:\npid \d+"):
            proof.wait(0.05)
        running.kill()
        assert proof.wait(5) < 5


def test_agents_meet_the_test_at_a_pipe_and_a_gate(tmp_path: Path) -> None:
    code = """
        import sys
        from tests.support.sync import announce, wait_for_gate
        announce(sys.argv[1], "before")
        wait_for_gate(sys.argv[2])
        announce(sys.argv[1], "after")
    """
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        command = [*python(code), post.path, gate.path]
        with Running(command) as one, Running(command) as two:
            assert post.expect(2) == ["before", "before"]
            with pytest.raises(AssertionError, match=r"so far: \['before', 'before'\]"):
                post.expect(1, deadline=0.05)
            gate.open()
            assert post.expect(2) == ["after", "after"]
            assert one.wait().returncode == two.wait().returncode == 0


def test_processes_of_a_run_are_found_by_their_environment() -> None:
    """Also once their parent has gone."""
    code = "import os, signal; os.fork() and os._exit(0); os.setsid(); os.write(1, b'up'); signal.pause()"
    with Running(python(code), env={"QUIESCE_RUN_ID": "r-support"}) as running:
        running.expect("up", stream="stdout")
        running.popen.wait()
        (stray,) = procs.processes_of_run("r-support")
        assert "run r-support" in procs.describe(stray)
        running.kill()
        assert not procs.processes_of_run("r-support")


def test_another_programs_run_of_the_same_id_is_not_found() -> None:
    """Only processes with the mark of this test count."""
    code = "import os; os.write(1, b'up'); input()"
    unmarked = {name: "" for name in os.environ if name.startswith(procs.TEST_MARK)}
    clean = ["env", *(f"--unset={name}" for name in unmarked)]
    with Running([*clean, *python(code)], env={"QUIESCE_RUN_ID": "r-support"}, stdin=subprocess.PIPE) as running:
        running.expect("up", stream="stdout")
        assert not procs.processes_of_run("r-support")
        assert [each.pid for each in procs.processes_with("QUIESCE_RUN_ID", "r-support")] == [running.pid]


def test_a_terminal_shows_the_screen_and_takes_keys() -> None:
    with Terminal() as terminal:
        terminal.run("sh -c 'echo begun; exec sleep 60'")  # until it has the terminal, Ctrl-C goes to the shell
        terminal.expect("^begun")
        terminal.press("C-c")
        assert terminal.status() == 128 + signal.SIGINT
