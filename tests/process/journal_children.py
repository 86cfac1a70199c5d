"""What the processes of test_journal do: `python -m tests.process.journal_children FUNCTION ARGUMENT...`."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys

from orchestrator.core.records import RunEvent, TaskOutcome
from orchestrator.journal.sqlite import migrations
from orchestrator.journal.sqlite.journal import SqliteJournal
from orchestrator.journal.sqlite.locks import RunLocks
from runtime.model import ExecutionStatus

BATCH = 50
TASKS = 100 * BATCH


def outcomes(first: int) -> list[TaskOutcome]:
    return [
        TaskOutcome(seq=n, key="", status=ExecutionStatus.COMPLETED, attempts=1, encoded=b'"%s"' % (b"x" * 200))
        for n in range(first, first + BATCH)
    ]


def events(first: int) -> list[RunEvent]:
    return [RunEvent(kind="ended", at=1.0, task=n) for n in range(first, first + BATCH)]


def hold_claim(path: str, fork: str = "") -> None:
    """Claim the run, say so, and wait; with a forked child that outlives everything if asked."""
    journal = SqliteJournal(path)
    journal.claim(journal.get_run().id)
    if fork:
        begun, begin = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(begin, b"!")  # os.fork has called what drops the claim in a child
            signal.pause()
        os.read(begun, 1)
        print("forked", child)
    print("claimed")
    signal.pause()


def create_together(folder: str, rounds: str, processes: str) -> None:
    """Open a new journal in many processes at the same moment."""
    for number in range(int(rounds)):
        path = os.path.join(folder, f"{number}.db")
        barrier, go = os.pipe()
        children = [_create(path, barrier, go) for _ in range(int(processes))]
        os.close(barrier)
        os.close(go)  # which all of them see at once
        if sum(os.waitpid(child, 0)[1] for child in children):  # of all of them
            sys.exit(f"round {number}")


def _create(path: str, barrier: int, go: int) -> int:
    child = os.fork()
    if child:
        return child
    os.close(go)
    os.read(barrier, 1)
    with SqliteJournal(path) as journal:
        journal.create_run(f"r{os.getpid()}", agent=None)
    os._exit(0)


def write(path: str, done: str, steps: str = "") -> None:
    """Commit batch after batch and say the last seq of each; die in mid-statement of the second if asked."""
    journal = SqliteJournal(path)
    run = journal.claim(journal.get_run().id).id
    begin = int(done) + 1
    for first in range(begin, TASKS, BATCH):
        if steps and first > begin:
            journal._db._connection.set_progress_handler(lambda: os.kill(os.getpid(), signal.SIGKILL), int(steps))
        journal.commit(run, outcomes=outcomes(first), events=events(first))
        os.write(1, b"%d\n" % (first + BATCH - 1))


def convert(path: str, statements: str) -> None:
    """Open a journal of an older schema for writing; die by SIGKILL before one of the conversion's statements."""
    convert_file, left = migrations.convert_file, int(statements)

    def die(_: str) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def convert_and_die(connection: sqlite3.Connection, path: str, locks: RunLocks) -> None:
        connection.set_trace_callback(die)
        convert_file(connection, path, locks)
        connection.set_trace_callback(None)

    migrations.convert_file = convert_and_die
    SqliteJournal(path, "write").close()


if __name__ == "__main__":
    {each.__name__: each for each in (hold_claim, create_together, write, convert)}[sys.argv[1]](*sys.argv[2:])
