"""A process that has nothing to do with the run, and whose memory cannot be read for now: it holds nothing up.

One of its threads waits for a file server that does not answer, and another one for that thread, with the lock on the
process's memory map: every reader of its environment or command line waits, as `ps` does. So does what looks for
leaked processes here: it must not look before the file server is gone.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.conftest import SLACK, Scenario
from tests.process.helpers import agent, jsonl
from tests.support.chaos.fuse import hung_file_system
from tests.support.cli import QUIESCE, environment, start_cli
from tests.support.procs import read_bytes
from tests.support.sync import AnnouncementPipe
from tests.support.wait import wait_until

GRACES = ("--grace", "0.3", "--term-grace", "0.3")

_HOLD_LOCK = """
import ctypes, os, sys, threading
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
fd = os.open(sys.argv[1], os.O_RDONLY)
map_private = lambda: libc.mmap(None, 4096, 1, 2, fd, 0)
page = map_private()
threading.Thread(target=lambda: libc.memcmp(ctypes.c_void_p(page), b"x", 1), daemon=True).start()
sys.stdin.readline()
threading.Thread(target=map_private, daemon=True).start()
sys.stdin.read()
"""
"""A read of the page keeps it locked; to map the file again, the kernel waits for that with the map locked."""


@contextmanager
def unreadable_process(folder: Path) -> Iterator[int]:
    """A process whose environment cannot be read; its pid."""
    with hung_file_system(folder / "hung") as system:
        if system is None:
            pytest.skip("there is no FUSE here")
        command = [sys.executable, "-S", "-E", "-c", _HOLD_LOCK, str(system.file)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            try:
                wait_until(
                    lambda: b"request_wait_answer" in task_files(process.pid, "wchan"), what="the page is asked for"
                )
                process.stdin.write(b"\n")
                process.stdin.flush()
                wait_until(lambda: b") D " in task_files(process.pid, "stat"), what="the map is locked")
                yield process.pid
                assert process.poll() is None, "it has nothing to do with the run"
            finally:
                process.kill()
                system.release()


def task_files(pid: int, name: str) -> bytes:
    """A file of each thread."""
    return b"\n".join(read_bytes(f"/proc/{pid}/task/{thread}/{name}") for thread in os.listdir(f"/proc/{pid}/task"))


def test_a_stop_takes_its_graces_and_no_longer(scenario: Scenario) -> None:
    tasks = scenario.tasks(["cooperative", "stuck"])
    with scenario.start(workers=2) as running:
        scenario.proof.wait_until_held(2)
        with unreadable_process(scenario.folder):
            running.send(signal.SIGTERM)
            running.popen.wait(0.6 + 2 + 2 + SLACK)
            scenario.proof.wait(0.5)
        done = running.wait()
    assert done.signal is signal.SIGTERM
    assert "remaining=[]" in done.stderr
    scenario.resume_to_the_end(tasks)


def test_one_of_the_run_is_named_as_remaining(scenario: Scenario) -> None:
    """Not even SIGKILL ends it; a process that reads it does not wait for it."""
    with hung_file_system(scenario.folder / "hung") as system, AnnouncementPipe(scenario.folder / "post") as post:
        if system is None:
            pytest.skip("there is no FUSE here")
        task = {"post": post.path, "command": [sys.executable, "-S", "-E", "-c", _HOLD_LOCK, str(system.file)]}
        source = str(jsonl(scenario.folder / "in.jsonl", [task]))
        words = ["run", agent("unreadable:starts"), "-i", source, "-j", str(scenario.journal), "-w", "1", *GRACES]
        with start_cli(*words) as running:
            pid = int(post.expect(deadline=30)[0])
            try:
                wait_until(lambda: b") D " in task_files(pid, "stat"), what="the map is locked")
                running.send(signal.SIGTERM)
                running.popen.wait(0.6 + 2 + 4 + SLACK)
            finally:
                system.release()
            done = running.wait()
    assert done.signal is signal.SIGTERM
    assert "Traceback" not in done.stderr
    assert re.search(rf"cleanup.verified.*remaining=\['{pid} ", done.stderr), done


def test_a_guardian_that_is_killed_is_replaced(scenario: Scenario) -> None:
    tasks = scenario.tasks(["cooperative", *["quick"] * 5], hold=300.0)
    with scenario.start(workers=1) as running:
        wait_until((scenario.folder / "marks" / tasks[0]["key"]).exists, what="the task has begun")
        guardian = scenario.target(running).guardian()
        assert guardian is not None
        with unreadable_process(scenario.folder):
            guardian.kill()
            running.popen.wait(20)
        done = running.wait()
    assert done.returncode == 0, done
    assert "guardian.lost" in done.stderr
    scenario.resume_to_the_end(tasks)


def test_a_run_whose_supervisor_was_killed_is_resumed(scenario: Scenario) -> None:
    tasks = scenario.tasks(["cooperative", "quick"], hold=300.0)
    with scenario.start(workers=1) as running:
        wait_until((scenario.folder / "marks" / tasks[0]["key"]).exists, what="the task has begun")
        running.send(signal.SIGKILL)
        running.popen.wait()
        with unreadable_process(scenario.folder):
            scenario.proof.wait(1.6 + SLACK)
            words = [*QUIESCE, "resume", scenario.run_id, "--journal", str(scenario.journal)]
            done = subprocess.run(
                words, env=environment(scenario.environment()), cwd=scenario.folder, capture_output=True, timeout=20,
                check=False,
            )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    scenario.resume_to_the_end(tasks)
