"""The journal under real processes: claims, kill -9, full and read-only disks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.records import NewTask
from orchestrator.journal import ClaimedError, JournalError, open_journal
from orchestrator.journal.sqlite.journal import SqliteJournal
from runtime.errors import UsageError
from tests.process.journal_children import BATCH, TASKS, events, outcomes
from tests.support.cli import Running


def start(function: str, *args: object, stdin: int = subprocess.DEVNULL) -> Running:
    """Run a function of journal_children in a process of its own."""
    command = [sys.executable, "-u", "-m", "tests.process.journal_children", function]
    return Running([*command, *map(str, args)], stdin=stdin)


# -- claims -----------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_journal(tmp_path / "runs.db") as journal:
        run = journal.create_run("r", agent=None).id
        journal.add_tasks(run, [NewTask(str(n), b"null") for n in range(1, TASKS + 1)])
    return tmp_path / "runs.db"


def test_the_second_claimant_is_told_who_has_the_run(path: Path) -> None:
    """Its lock dies with the first one, even by kill -9; nothing is left to clean up by hand."""
    with open_journal(path) as journal, start("hold_claim", path) as first:
        run = journal.get_run()
        first.expect("claimed", stream="stdout")
        with pytest.raises(ClaimedError, match=f"being executed by process {first.pid}") as caught:
            journal.claim(run.id)
        assert caught.value.pid == first.pid
        owner = journal.get_run().owner
        assert owner is not None
        assert (owner.pid, owner.alive) == (first.pid, True)
        first.send(signal.SIGKILL)
        first.wait()
        owner = journal.get_run().owner
        assert owner is not None
        assert (owner.pid, owner.alive) == (first.pid, False)
        assert journal.claim(run.id).starts == 2


def test_a_child_does_not_inherit_the_claim(path: Path) -> None:
    """A stray child of a dead supervisor must not keep the run locked."""
    with open_journal(path) as journal, start("hold_claim", path, "fork") as first:
        child = int(first.expect(r"^forked \d+", stream="stdout").split()[1])
        first.expect("claimed", stream="stdout")
        first.send(signal.SIGKILL)
        first.popen.wait()
        os.kill(child, 0)
        journal.claim(journal.get_run().id)
        os.kill(child, signal.SIGKILL)


def test_another_connection_of_the_owner_does_not_unlock_when_it_closes(path: Path) -> None:
    """POSIX drops a process's locks when it closes any descriptor of the file."""
    with open_journal(path) as journal:
        journal.claim(journal.get_run().id)
        open_journal(path, "read").close()
        open_journal(path, "write").close()
        with start("hold_claim", path) as second:
            assert second.wait().returncode == 1
            assert f"being executed by process {os.getpid()}" in second.stderr


def test_many_may_create_the_same_journal_at_once(tmp_path: Path) -> None:
    """Each finds it whole. Released together, again and again: in one round nothing may meet."""
    with start("create_together", tmp_path, 30, 8) as many:
        done = many.wait()
    assert done.returncode == 0, done
    for each in tmp_path.glob("*.db"):
        with open_journal(each, "read") as journal:
            assert len(journal.runs()) == 8


# -- kill -9 ----------------------------------------------------------------------------------------------


def check(path: Path, said: int) -> int:
    """What was said is there; what is there is whole batches; and it can go on. The last seq."""
    with open_journal(path) as journal:
        run = journal.claim(journal.get_run().id).id
        stored = [outcome.seq for outcome in journal.results(run)]
        assert stored == list(range(1, len(stored) + 1))
        assert len(stored) >= said
        assert len(stored) % BATCH == 0
        assert [event.seq for event in journal.events(run)] == stored
        assert [task.seq for task in journal.pending(run, limit=1)] == [len(stored) + 1]
        first = len(stored) + 1
        assert journal.commit(run, outcomes=outcomes(first), events=events(first)).events.start == first
        return len(stored)


@pytest.mark.parametrize("steps", [10, 200, 1000])
def test_killed_within_a_commit_leaves_all_of_it_or_nothing(path: Path, steps: int) -> None:
    """SIGKILL inside a statement of the second commit: the first is there, of the second nothing."""
    with start("write", path, 0, steps) as writer:
        ended = writer.wait()
    assert ended.signal is signal.SIGKILL, ended
    assert ended.stdout == f"{BATCH}\n"
    assert check(path, BATCH) == BATCH


def test_killed_at_any_moment_nothing_that_was_told_is_lost(path: Path) -> None:
    """SIGKILL at random moments of a writer that never rests, again and again on the same file."""
    randomly = random.Random(7)
    done = 0
    for _ in range(5):
        with start("write", path, done) as writer:
            writer.expect(r"^\d+\n", stream="stdout", count=randomly.randint(1, 6))
            time.sleep(randomly.random() * 0.004)  # anywhere in the next commit, not at its beginning
            writer.send(signal.SIGKILL)
            writer.popen.wait()
            said = [int(line) for line in writer.wait().stdout.splitlines(keepends=True) if line.endswith("\n")]
        done = check(path, said[-1]) + BATCH


# -- disks ------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        pytest.skip("mounting a small file system needs root, and Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "quiesce-test", folder], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def _remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


def test_a_full_disk_is_one_clear_line_and_loses_nothing(disk: Path) -> None:
    """What was committed stays and can be read; with room again, the same journal goes on."""
    with SqliteJournal(str(disk / "runs.db")) as journal:
        run = journal.claim(journal.create_run("r", agent=None).id).id
        journal.add_tasks(run, [NewTask(str(n), b"null") for n in range(1, TASKS + 1)])
        committed = 0
        with pytest.raises(JournalError) as caught:
            for first in range(1, TASKS, BATCH):
                journal.commit(run, outcomes=outcomes(first), events=events(first))
                committed = first + BATCH - 1
        assert "the disk is full" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert committed >= BATCH
        assert journal.counts(run).completed == committed
        with open_journal(disk / "runs.db", "read") as reader:
            assert sum(1 for _ in reader.results(run)) == committed
        _remount(disk, "size=16m")
        journal.commit(run, outcomes=outcomes(committed + 1), events=events(committed + 1))
        assert [event.seq for event in journal.events(run)] == list(range(1, committed + BATCH + 1))


def test_no_room_for_a_new_journal_is_a_usage_error(disk: Path) -> None:
    """Before anything was started."""
    (disk / "ballast").write_bytes(b"x" * (2 << 20))
    with pytest.raises(UsageError, match=r"the disk is full|input/output error"):
        open_journal(disk / "runs.db")


def test_a_read_only_disk_serves_queries_and_refuses_runs(disk: Path) -> None:
    """A journal that was closed in order needs nothing written to be read."""
    with SqliteJournal(str(disk / "runs.db")) as journal:
        run = journal.claim(journal.create_run("r", agent=None).id).id
        journal.add_tasks(run, [NewTask("a", b"null")])
    _remount(disk, "ro")
    try:
        with open_journal(disk / "runs.db", "read") as reader:
            assert reader.get_run().run_id == "r"
            assert reader.counts(run).pending == 1
        for mode in ("create", "write"):
            with pytest.raises(UsageError, match="read-only") as caught:
                open_journal(disk / "runs.db", mode)
            assert "\n" not in str(caught.value)
        with pytest.raises(UsageError, match="read-only"):
            open_journal(disk / "new.db")
    finally:
        _remount(disk, "rw")


def test_a_file_that_is_mounted_by_itself_is_refused_with_the_cure(disk: Path, tmp_path: Path) -> None:
    """As `docker run -v quiesce.db:/data/quiesce.db` does: its write-ahead log is not mounted with it."""
    inside = tmp_path / "inside.db"
    inside.touch()
    open_journal(disk / "runs.db").close()
    subprocess.run(["mount", "--bind", disk / "runs.db", inside], check=True)
    try:
        for mode in ("create", "write", "read"):
            with pytest.raises(UsageError, match=r"mounted by itself.*mount its directory instead"):
                open_journal(inside, mode)
    finally:
        subprocess.run(["umount", inside], check=True)
    open_journal(disk / "runs.db", "write").close()


def test_a_copy_in_the_same_process_drops_no_claim(tmp_path: Path) -> None:
    """A POSIX lock ends with any close of the file."""
    path = tmp_path / "runs.db"
    with open_journal(path) as journal:
        run = journal.claim(journal.create_run("r", agent=None).id)
        for each in list(path.parent.iterdir()):
            shutil.copy(each, path.parent / f"copy-of-{each.name}")
        command = [sys.executable, "-m", "tests.process.journal_children", "hold_claim", str(path)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert second.returncode == 1
        assert f"run {run.run_id} is being executed by process {os.getpid()}" in second.stderr
