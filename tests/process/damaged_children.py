"""Damage a journal in a way that a seed chooses, and ask everything of it: `python -m tests.process.damaged_children`.

Each question is asked in a fork of this process, with a time limit; its exit code and its words are what a user gets.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

from orchestrator.cli import main
from orchestrator.core.output import KeptLine, OutputChunk
from orchestrator.core.records import NewTask, RunEvent, TaskOutcome, TaskSnapshot
from orchestrator.journal import open_journal
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal

SECONDS = 20  # that one question may take; a fraction of one is what it takes

QUESTIONS = (
    ("runs",),
    ("runs", "--json"),
    ("status",),
    ("status", "r", "--json"),
    ("results",),
    ("results", "--json"),
    ("results", "r", "--status", "failed"),
    ("events",),
    ("events", "--json"),
    ("events", "--follow"),
    ("logs",),
    ("logs", "--json", "--key", "k2"),
    ("interrupt", "r", "--task", "k2"),
)
DEEP = ("[" * 5000 + "]" * 5000, "[" * 200_000 + "]" * 200_000, '{"a":' * 100_000)
NUMBERS = (-1, 0, 1, 2**63 - 1, -(2**63), 10**17, 1e308, -1e308, float("inf"))
TEXTS = ("", "x", "null", "[]", "{}", "[1,2", "1e999", "\0", "NaN", "completed", "nonsense", "\ud7ff\U0010ffff")
WORDS: tuple[object, ...] = (None, *NUMBERS, *TEXTS, b"\xff\xfe", *DEEP)
RUN = "id run_id agent config cwd status created_at started_at ended_at sealed signal starts owner_pid owner_host ready"
COLUMNS = {
    "runs": tuple(RUN.split()),
    "supervisors": ("run", "token", "pid", "host"),
    "tasks": ("run", "seq", "key", "input", "encoding", "priority", "agent", "attempts"),
    "outcomes": ("run", "seq", "status", "record", "layout"),
    "events": ("run", "seq", "record", "layout"),
    "layouts": ("id", "position", "name"),
    "snapshots": ("run", "seq", "data", "encoding"),
    "output": ("run", "number", "task", "slot", "first", "size", "lines"),
    "requests": ("id", "run", "signal", "task", "key"),
}
ROWS = {"output": "number", "runs": "rowid", "layouts": "name", "requests": "rowid", "supervisors": "token"}
"""What names a row of a table."""
PARTS = ("-1", "null", "1e300", "9" * 20, '"x"', "[[[]]]", '"nonsense"', "1e400", "-1e15", '"\\ud800"')


def make(path: Path) -> None:
    """A journal with some of everything."""
    stop = InterruptSignal(reason=InterruptReason.TIMEOUT, message="late", triggered_by="test")
    states = (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.INTERRUPTED)
    with open_journal(path) as journal:
        run = journal.claim(journal.create_run("r", agent={"name": "m:f"}, config={"workers": 2}).id, "7-0ff").id
        journal.add_tasks(run, [NewTask(f"k{n}", b'{"n":1}') for n in range(1, 41)])
        outcomes = [
            TaskOutcome(
                seq=n, key=f"k{n}", status=states[n % 3], attempts=1, encoded=b'{"v":[1,2]}' if n % 3 == 0 else None,
                error="boom", started_at=1.5, ended_at=2.5, slot=0, incarnation=1, signal=stop if n % 3 == 2 else None,
            )
            for n in range(1, 31)
        ]  # fmt: skip
        events = [RunEvent(kind="task.x", at=1.5, data=b'{"k":1}', task=n, slot=0) for n in range(1, 61)]
        output = [OutputChunk(task=n, lines=[KeptLine(1.5, "stdout", f"line {n}")]) for n in range(1, 21)]
        journal.commit(run, outcomes=outcomes, events=events, snapshots=[TaskSnapshot(35, b"[1]")], output=output)
        journal.finish_run(run, ExecutionStatus.INTERRUPTED, stop)


def damage(path: Path, rng: random.Random) -> str:
    """Flip bits of the file, or put something else into a row. What was done."""
    if rng.random() < 0.4:
        data, count = bytearray(path.read_bytes()), rng.choice((1, 3, 30, 300))
        for _ in range(count):
            data[rng.randrange(100, len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        return f"{count} bits"
    table = rng.choice(tuple(COLUMNS))
    column, rows = rng.choice(COLUMNS[table]), rng.choice((1, 5, 1000))
    row = ROWS.get(table, "seq")
    value: object = rng.choice(WORDS)
    done = f"{rows} rows of {table}.{column}"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER outcomes_are_final")
        db.execute("PRAGMA ignore_check_constraints=ON")
        with contextlib.suppress(sqlite3.Error):
            if column == "record":
                value = damaged_record(db, table, rng, value)
            db.execute(
                f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {row} IN (SELECT {row} FROM {table} LIMIT ?)",
                (value, rows),
            )
        return f"{done} = {str(value)[:60]!r}"


def damaged_record(db: sqlite3.Connection, table: str, rng: random.Random, value: object) -> object:
    """Return a stored array with an element or a character replaced."""
    (record,) = db.execute(f"SELECT record FROM {table} LIMIT 1").fetchone()
    place = rng.randrange(len(record))
    how = rng.randrange(3)
    if how == 0:
        return record[:place] + rng.choice('0123456789-[]{},"x') + record[place + 1 :]
    if how == 1:
        at = rng.randrange(12)
        (changed,) = db.execute("SELECT json_set(?, ?, json(?))", (record, f"$[{at}]", rng.choice(PARTS))).fetchone()
        return changed
    return value


def ask(question: tuple[str, ...], path: Path, words: Path) -> str | None:
    """What is wrong with the answer."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        out, error = os.open(os.devnull, os.O_WRONLY), os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(error, 2)
        sys.argv = ["quiesce", *question, "--journal", str(path)]
        main()
        os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = words.read_text(errors="replace")
    lines = said.count("\n")
    if code not in (0, 1, 2) or "Traceback" in said or (code == 2 and lines != 1):
        return f"{' '.join(question)}: exit code {code}, {lines} lines: {said[-1500:]}"
    return None


def fuzz(folder: str, first: str, count: str) -> None:
    """Try so many seeds."""
    sound, path = Path(folder, "sound.db"), Path(folder, "damaged.db")
    make(sound)
    wrong = 0
    for seed in range(int(first), int(first) + int(count)):
        for suffix in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copy(sound, path)
        what = damage(path, random.Random(seed))
        for question in random.Random(seed).sample(QUESTIONS, 4):
            problem = ask(question, path, Path(folder, "words"))
            if problem is not None:
                wrong += 1
                print(f"seed {seed}: {what}: {problem}", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    fuzz(*sys.argv[1:])
