"""Another process has the journal locked, or the disk is slow: that is no damage. Nothing finished is lost."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.stop_limits import JOURNAL_TIMEOUT, KILL_TIMEOUT, SWEEP_TIMEOUT
from tests.process.helpers import jsonl, look
from tests.support.cli import QUIESCE, Running, run_cli
from tests.support.wait import wait_until

AGENT = """
import os, time

def work(n, state):
    return n * 2

def linger(n, state):
    while n == 1000 and not os.path.exists("over"):
        state.sleep(0.02)
    time.sleep(0.003)

def wait(n, state):
    while not os.path.exists(f"go-{n}"):
        state.sleep(0.02)
    open(f"done-{n}", "w").close()
    return n * 2

def deaf(n, state):
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""

LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
db.execute(sys.argv[2])
db.execute("SELECT count(*) FROM runs").fetchall()
print("locked", flush=True)
sys.stdin.read()
"""

BYTE_LOCKER = """
import fcntl, os, sys
fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX, 1, 120)
print("locked", flush=True)
sys.stdin.read()
"""

GRACE = 0.4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agent.py").write_text(AGENT)
    return tmp_path


def quiesce(folder: Path, function: str, *options: str, env: dict[str, str] | None = None) -> Running:
    graces = ("--grace", str(GRACE), "--term-grace", str(GRACE))
    source = () if "-i" in options else ("-i", "in.jsonl")
    command = (*QUIESCE, "run", f"agent.py:{function}", "--progress", "off", *graces, *source, *options)
    return Running(command, cwd=folder, env=env, timeout=60)


@contextlib.contextmanager
def locked(folder: Path, how: str = "BEGIN IMMEDIATE") -> Iterator[Running]:
    """Keep every other process from writing, until the block ends."""
    command = [sys.executable, "-c", LOCKER, str(folder / "quiesce.db"), how]
    with Running(command, stdin=subprocess.PIPE) as locker:
        locker.expect("locked", stream="stdout")
        yield locker


@contextlib.contextmanager
def locked_out(folder: Path) -> Iterator[Running]:
    """A process that is no SQLite, with a lock on the byte that writers lock."""
    with Running([sys.executable, "-c", BYTE_LOCKER, str(folder / "quiesce.db-shm")], stdin=subprocess.PIPE) as locker:
        locker.expect("locked", stream="stdout")
        yield locker


def go(folder: Path, *numbers: int) -> None:
    for n in numbers:
        (folder / f"go-{n}").touch()


@pytest.mark.parametrize("how", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "a lock by hand"])
def test_a_run_waits_for_whoever_has_the_journal_and_says_who_it_is(folder: Path, how: str) -> None:
    """Its agents go on meanwhile, and when the lock is gone everything is written."""
    jsonl(folder / "in.jsonl", range(1, 21))
    with quiesce(folder, "wait", "--workers", "2") as run:
        run.expect("executor.started", count=2)
        with locked(folder, how) if how.startswith("BEGIN") else locked_out(folder) as other:
            go(folder, *range(1, 21))
            assert f"process {other.pid} (" in run.expect(r"journal.waiting.*")
        run.expect("journal.available")
        assert run.wait().returncode == 0
    assert look(folder / "quiesce.db").values == {str(n): n * 2 for n in range(1, 21)}


def test_a_stop_keeps_what_is_finished_until_it_can_be_written(folder: Path) -> None:
    """SIGTERM comes while another process has the lock; the lock is gone before the stop's time for the journal is."""
    jsonl(folder / "in.jsonl", range(1, 9))
    with quiesce(folder, "wait", "--workers", "2") as run:
        run.expect("executor.started", count=2)
        with locked(folder):
            go(folder, 1, 2)
            wait_until(lambda: (folder / "done-1").exists() and (folder / "done-2").exists(), what="two are finished")
            run.expect("journal.waiting")
            run.send(signal.SIGTERM)
            run.expect("executor.exited", count=2)
        ended = run.wait()
    assert ended.signal is signal.SIGTERM, ended
    assert "journal.failed" not in ended.stderr
    seen = look(folder / "quiesce.db")
    assert seen.values == {"1": 2, "2": 4}
    assert seen.record.status == "interrupted"


@pytest.mark.parametrize("function", ["wait", "deaf"])
def test_a_stop_does_not_wait_for_ever(folder: Path, function: str) -> None:
    """One deadline for everything that waits for the journal, and no process outlives it."""
    jsonl(folder / "in.jsonl", range(1, 9))
    with quiesce(folder, function, "--workers", "2") as run:
        run.expect("executor.started", count=2)
        with locked(folder):
            assert stop(run) <= bound()
        assert run.stderr.count("journal.failed") == 1
    left = run_cli(
        "resume", "--progress", "off", "--deadline", "0.1", "--grace", "0.1", "--term-grace", "0.1", cwd=folder
    )
    assert left.returncode == 75, left


def stop(run: Running) -> float:
    """SIGTERM, and how many seconds it took."""
    began = time.monotonic()
    run.send(signal.SIGTERM)
    ended = run.wait()
    assert ended.signal is signal.SIGTERM, ended
    return time.monotonic() - began


def bound() -> float:
    """Seconds that docs/stopping.md grants."""
    return GRACE + GRACE + KILL_TIMEOUT + JOURNAL_TIMEOUT + SWEEP_TIMEOUT


def test_two_runs_share_a_journal_while_one_takes_a_large_input_in(folder: Path) -> None:
    """Neither is interrupted, none of their results is lost, and the small one never waits for long."""
    jsonl(folder / "in.jsonl", range(1, 1001))
    jsonl(folder / "large.jsonl", range(1, 200_001))
    with quiesce(folder, "linger", "--workers", "1", "--run-id", "small") as small:
        small.expect("executor.started")
        with quiesce(folder, "work", "-i", "large.jsonl", "--workers", "1", "--run-id", "large") as large:
            large.expect("executor.started")
            assert small.popen.poll() is None
            assert stop(large) < bound()
        (folder / "over").touch()
        assert small.wait().returncode == 0
        assert "journal.failed" not in small.stderr
    assert len(look(folder / "quiesce.db", "small").values) == 1000


def test_a_run_that_is_being_made_is_nobodys_and_leaves_nothing_when_its_maker_is_killed(folder: Path) -> None:
    """Its tasks come in many transactions; before the last one there is no run."""
    (folder / "in.jsonl").write_text("".join(f"{n}\n" for n in range(1_000_000)))
    path = folder / "quiesce.db"
    with quiesce(folder, "work", "--run-id", "r") as first:
        wait_until(lambda: path.exists() and tasks_in(path) > 0, what="tasks in the journal")
        assert run_cli("runs", cwd=folder).stdout.count("\n") == 1
        second = run_cli("run", "agent.py:work", "-i", "in.jsonl", "--run-id", "r", cwd=folder)
        assert second.returncode == 2
        assert f"run r is being executed by process {first.pid}" in second.stderr
        first.send(signal.SIGKILL)
        first.wait()
    assert run_cli("status", cwd=folder).returncode == 2
    jsonl(folder / "in.jsonl", range(1, 4))
    with quiesce(folder, "work", "--run-id", "r") as again:
        assert again.wait().returncode == 0
    assert tasks_in(path) == 3


def tasks_in(path: Path) -> int:
    """However they came there."""
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as db, contextlib.suppress(sqlite3.OperationalError):
        return int(db.execute("SELECT count(*) FROM tasks").fetchone()[0])
    return 0


# -- a slow disk -------------------------------------------------------------------------------------------

SLOW = """
#include <unistd.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/syscall.h>
static void nap(void) { if (access(getenv("SLOW_DISK"), F_OK) == 0) usleep(atof(getenv("SLOW_SECONDS")) * 1e6); }
int fdatasync(int fd) { nap(); return syscall(SYS_fdatasync, fd); }
int fsync(int fd) { nap(); return syscall(SYS_fsync, fd); }
"""


@pytest.fixture(scope="module")
def slow_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that delays each fsync while a file is there."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler, and Linux")
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow.c").write_text(SLOW)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "slow.so", "slow.c"], cwd=folder, check=True)
    return folder / "slow.so"


@pytest.mark.parametrize("seconds", [1, 5])
def test_a_slow_disk_delays_a_stop_by_no_more_than_is_promised(folder: Path, slow_disk: Path, seconds: int) -> None:
    """The patience for it does not begin anew with every commit."""
    jsonl(folder / "in.jsonl", range(1, 3))
    env = {"LD_PRELOAD": str(slow_disk), "SLOW_DISK": str(folder / "slow"), "SLOW_SECONDS": str(seconds)}
    with quiesce(folder, "deaf", "--workers", "1", env=env) as run:
        run.expect("executor.started")
        (folder / "slow").touch()
        assert stop(run) <= bound()
