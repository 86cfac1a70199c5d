"""How programs with a SupervisedExecutor end: by themselves, an exception, signals, in forks. No hang, no orphan."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from orchestrator.futures import SupervisedExecutor
from orchestrator.run_session import RunSession
from tests.process.agents import pool_program
from tests.support.cli import ROOT, Completed, Running
from tests.support.eof import ExitDetector
from tests.support.sync import AnnouncementPipe
from tests.support.wait import wait_until

WAIT = 60.0


def program(name: str, path: str | Path = "") -> Running:
    command: Sequence[str] = [sys.executable, "-m", "tests.process.agents.pool_program", name, str(path)]
    return Running(command, cwd=ROOT)


def run(name: str, path: str | Path = "") -> Completed:
    with program(name, path) as running:
        return running.wait(WAIT)


def test_at_the_interpreters_end_what_was_submitted_is_finished(tmp_path: Path) -> None:
    """And what calls print is printed, as by the standard library's."""
    with ExitDetector() as proof:
        (tmp_path / "notes.held").symlink_to(proof.path)
        ended = run("end", tmp_path / "notes")
        assert ended.returncode == 0, ended
        assert (tmp_path / "notes").read_text() == "7\n"
        assert ended.stdout == "printed by a call\n", ended
        assert ended.stderr == "", ended
        proof.wait(WAIT)


def test_a_done_callback_may_shut_down() -> None:
    ended = run("callback")
    assert (ended.returncode, ended.stdout) == (0, "shut down\n"), ended


def test_a_fork_of_the_program_has_no_part_in_the_executor() -> None:
    ended = run("fork")
    assert ended.returncode == 0, ended
    child = [line for line in ended.stdout.splitlines() if line.startswith("child: ")]
    assert len(child) == 1, ended
    assert child[0].endswith("which has forked this one: make a new one"), ended
    assert ended.stdout.splitlines()[-1] == "16", ended


def test_an_executor_inside_of_a_call_of_another() -> None:
    ended = run("nested")
    assert (ended.returncode, ended.stdout) == (0, "[[2, 1], [3, 2, 1]]\n"), ended


def test_an_executor_that_is_not_used_starts_nothing() -> None:
    ended = run("unused")
    assert ended.returncode == 0, ended
    assert ended.stdout.startswith("<SupervisedExecutor max_workers=2"), ended


@pytest.mark.parametrize(
    ("name", "number", "code"),
    [
        ("result", signal.SIGINT, -signal.SIGINT),  # KeyboardInterrupt in the block
        ("wait", signal.SIGINT, -signal.SIGINT),  # while shutdown waits
        ("result", signal.SIGTERM, -signal.SIGTERM),  # the default action: the guardian keeps the promise
        ("handled", signal.SIGTERM, -signal.SIGTERM),
        ("wait", signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_signal_to_the_program_ends_its_calls(name: str, number: signal.Signals, code: int) -> None:
    with ExitDetector() as proof:
        with program(name, proof.path) as running:
            proof.wait_until_held(1, WAIT)
            running.send(number)
            ended = running.wait(WAIT)
            assert ended.returncode == code, ended
        proof.wait(WAIT)


def test_sys_exit_in_the_block_interrupts_its_calls(tmp_path: Path) -> None:
    with ExitDetector() as proof:
        (tmp_path / "held").symlink_to(proof.path)
        with program("exception", tmp_path / "held") as running:
            proof.wait_until_held(1, WAIT)
            (tmp_path / "held.go").write_text("")
            assert running.wait(WAIT).returncode == 3
        proof.wait(WAIT)


def test_a_collected_executor_finishes_its_calls_and_is_gone() -> None:
    executor = SupervisedExecutor(1)
    futures = [executor.submit(pow, 2, number) for number in range(5)]
    pool = executor._pool
    del executor
    gc.collect()
    assert [future.result(WAIT) for future in futures] == [1, 2, 4, 8, 16]
    assert pool._over.wait(WAIT)


def test_an_initializer_that_fails_breaks_the_executor() -> None:
    with SupervisedExecutor(1, initializer=pool_program.fail_to_begin) as executor:
        with pytest.raises(BrokenProcessPool, match="error in initializer"):
            executor.submit(pow, 2, 5).result(WAIT)
        assert executor._pool._over.wait(WAIT)
        with pytest.raises(BrokenProcessPool, match="error in initializer"):
            executor.submit(pow, 2, 5)


def test_submit_after_shutdown_is_refused_and_a_second_shutdown_is_none() -> None:
    executor = SupervisedExecutor(1)
    executor.shutdown()
    executor.shutdown(cancel_futures=True)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(pow, 2, 5)


def test_a_pool_is_broken_by_the_death_of_an_idle_process_if_it_is_to_be(tmp_path: Path) -> None:
    with AnnouncementPipe(tmp_path / "post") as post:
        executor = SupervisedExecutor(2, on_crash="pool")
        waiting = executor.submit(pool_program.announce_and_sleep, post.path)
        (busy,) = post.expect()
        session = executor._pool.session
        assert session is not None
        wait_until(lambda: len(_pids(session)) == 2, WAIT, what="both processes")
        (idle,) = _pids(session) - {int(busy)}
        os.kill(idle, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            waiting.result(WAIT)
        with pytest.raises(BrokenProcessPool):
            executor.submit(pow, 2, 5)
        executor.shutdown()


def _pids(session: RunSession) -> set[int]:
    """Return the processes that are ready for calls."""
    return {view.pid for view in session.status.executors if view.pid is not None and view.state == "ready"}


def test_a_pool_is_broken_by_a_crash_if_it_is_to_be() -> None:
    with SupervisedExecutor(1, on_crash="pool") as executor:
        crashed = executor.submit(signal.raise_signal, signal.SIGKILL)
        behind = executor.submit(pow, 2, 5)
        for future in (crashed, behind):
            with pytest.raises(BrokenProcessPool):
                future.result(WAIT)
        with pytest.raises(BrokenProcessPool):
            executor.submit(pow, 2, 5)
