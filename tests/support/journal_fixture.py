"""Journals of earlier schemas, as text: what the code of that time wrote, and what it read from it.

`python -m tests.support.journal_fixture` writes `journals/schema-N.sql` and `schema-N.json` for the schema of this
source tree. Run it before a change of the schema, and keep both files: the tests of the migrations open them with
today's code and compare. `@FOLDER@` stands for the directory in which the runs were started, `@HOST@` for the host.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.core.output import KeptLine, OutputChunk
from orchestrator.core.records import NewTask, RunEvent, TaskOutcome, TaskSnapshot
from orchestrator.journal import Journal, open_journal
from orchestrator.journal.sqlite.queries import APPLICATION_ID, SCHEMA_VERSION
from runtime.ipc.codec import encode_for_readers
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal
from tests.support.cli import run_cli

JOURNALS = Path(__file__).parent / "journals"
SCHEMAS = sorted(int(file.stem.removeprefix("schema-")) for file in JOURNALS.glob("schema-*.sql"))

AGENT = """
import os

def work(n, state):
    if n == 2:
        return {1, "two", (3.0, None)}
    if n == 3:
        raise ValueError("three is refused")
    if n >= 4:
        if n == 4 and state.snapshot is None:
            state.save_snapshot({"at": n, "seen": {1, 2}})
        while not os.path.exists("go"):
            state.sleep(0.02)
    return {"n": n, "resumed_from": repr(state.snapshot)}
"""
"""Of the runs `done` (inputs 1 to 3) and `stopped` (inputs 1 to 6). Tasks 4 to 6 wait for a file `go`."""


def start_runs(folder: Path) -> None:
    """Execute two runs by the command line: `done` finishes, `stopped` is interrupted by its deadline."""
    (folder / "agent.py").write_text(AGENT)
    for run_id, count, code in (("done", 3, 1), ("stopped", 6, 75)):
        (folder / "in.jsonl").write_text("".join(f"{n}\n" for n in range(1, count + 1)))
        options = ("--workers", "1", "--run-id", run_id, "--deadline", "3", "--grace", "2")
        ended = run_cli("run", "agent.py:work", "--input", "in.jsonl", *options, cwd=folder)
        assert ended.returncode == code, ended


def fill(journal: Journal) -> None:
    """Write a run `odd`: all that a journal can hold, also what no command line would write."""
    stop = InterruptSignal(reason=InterruptReason.TIMEOUT, message="too late", triggered_by="task:timeout")
    data, encoding, projection = encode_for_readers({"blob": (1, 2)})
    run = journal.claim(journal.create_run("odd", agent={"name": "m:f"}, config=None, cwd="@FOLDER@").id, "7-0ff").id
    journal.add_agents(run, {0: "m:f", 1: "m:g"})
    journal.add_tasks(
        run,
        [
            NewTask("plain", b'{"a": [1,  2.50, null]}'),
            NewTask("nul\0key", b'"\\u0000 \xc3\xa9"', priority=3),
            NewTask("blob", data, encoding, seq=10, agent=1),
            NewTask("invalid", b"\xff\xfe", priority=-1),
            *(NewTask(f"left {n}", b"%d" % n) for n in range(3)),
        ],
    )
    journal.commit(
        run,
        outcomes=[
            completed(1, "plain", b'{"v":"\\u0000"}'),
            completed(2, "nul\0key", b'"x"'),
            completed(10, "blob", data, encoding, projection),
            TaskOutcome(
                seq=11,
                key="invalid",
                status=ExecutionStatus.FAILED,
                attempts=3,
                error="no file \udcff\0",
                detail="Traceback:\n  \N{SNOWMAN}\0",
                signal=stop,
            ),
            TaskOutcome(seq=12, key="left 0", status=ExecutionStatus.INTERRUPTED, attempts=0, error="", signal=stop),
        ],
        snapshots=[TaskSnapshot(13, b'{"at": 1}'), TaskSnapshot(14, data, encoding, projection)],
        events=[
            RunEvent(kind="run.started", at=1.0),
            RunEvent(kind="task.log\0", at=1.5, data=b'{"message":"\\u0000"}', address="a::b", task=2, slot=0),
            RunEvent(kind="task.ended", at=2.0, task=10, slot=0, incarnation=1),
        ],
        attempts={13: 2},
        output=[OutputChunk(task=2, lines=[KeptLine(1.25, "stdout", "a\0b"), KeptLine(1.5, "stderr", "c")], slot=1)],
    )
    journal.label_run(run, {"team": "night"})
    journal.finish_run(run, ExecutionStatus.INTERRUPTED, stop, [RunEvent(kind="run.finished", at=3.0)])
    journal.release(run)


def completed(seq: int, key: str, data: bytes, encoding: str = "json", projection: bytes | None = None) -> TaskOutcome:
    """Return the outcome of a task of `odd`."""
    return TaskOutcome(
        seq=seq,
        key=key,
        status=ExecutionStatus.COMPLETED,
        attempts=seq % 3,
        encoded=data,
        encoding=encoding,
        started_at=1.5,
        ended_at=2.25,
        slot=0,
        incarnation=1,
        projection=projection,
    )


def read_all(journal: Journal) -> list[dict[str, Any]]:
    """Return everything that a journal tells about its runs, as plain JSON values."""
    found = []
    for run in journal.runs():
        tasks = list(journal.tasks(run.id))
        parts = {
            "run": run,
            "counts": journal.counts(run.id),
            "last_seq": journal.last_seq(run.id),
            "agents": journal.agents(run.id),
            "tasks": tasks,
            "pending": journal.pending(run.id),
            "urgent": journal.pending(run.id, urgent=True),
            "stored": list(journal.look_up(run.id, [task.key for task in tasks]).values()),
            "results": list(journal.results(run.id)),
            "failed": list(journal.results(run.id, [ExecutionStatus.FAILED])),
            "events": list(journal.events(run.id)),
            "output": list(journal.output(run.id)),
            "undo": journal.undo_records(run.id),
            "supervisors": journal.other_supervisors(run.id, ""),
        }
        found.append(msgspec.to_builtins(parts, enc_hook=lambda signal: signal.model_dump(mode="json"), str_keys=True))
    return found


def restore(schema: int, path: Path) -> list[dict[str, Any]]:
    """Make the journal of a schema at `path`, in WAL mode; return what the code of that schema read from it."""
    folder = str(path.parent)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript((JOURNALS / f"schema-{schema}.sql").read_text().replace("@FOLDER@", folder))
    expected: list[dict[str, Any]] = msgspec.json.decode(
        (JOURNALS / f"schema-{schema}.json").read_text().replace("@FOLDER@", folder)
    )
    return expected


def known(found: Any, expected: Any) -> Any:
    """Return what was found, without the members that were not known when `expected` was written."""
    if isinstance(expected, dict):
        return {name: known(found[name], expected[name]) for name in expected if name in found}
    if isinstance(expected, list) and len(found) == len(expected):
        return [known(*pair) for pair in zip(found, expected, strict=True)]
    return found


def dump(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield the statements that make a journal anew. (`iterdump` cuts text at a NUL, and leaves the marks out.)"""
    yield f"PRAGMA application_id={APPLICATION_ID};"
    yield f"PRAGMA user_version={SCHEMA_VERSION};"
    yield "BEGIN;"
    objects = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    for _, _, statement in objects:
        yield f"{statement};"
    for kind, table, _ in objects:
        if kind == "table":
            for row in connection.execute(f"SELECT * FROM {table}"):
                yield f"INSERT INTO {table} VALUES({', '.join(map(literal, row))});"
    yield "COMMIT;"


def literal(value: object) -> str:
    """Return a column's value as SQL."""
    if isinstance(value, str):
        text = "'" + value.replace("'", "''") + "'"
        return text if "\0" not in value else f"CAST(X'{value.encode().hex()}' AS TEXT)"
    return "NULL" if value is None else repr(value)


def main() -> None:
    """Write the fixture of today's schema."""
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name, "quiesce.db")
        start_runs(folder)
        with open_journal(path) as journal:
            fill(journal)
            expected = msgspec.json.format(msgspec.json.encode(read_all(journal)), indent=1).decode()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            statements = "\n".join(dump(connection)) + "\n"
        host = socket.gethostname()
        for suffix, text in (("sql", statements), ("json", expected + "\n")):
            for quote in "'\"":
                text = text.replace(f"{quote}{host}{quote}", f"{quote}@HOST@{quote}")  # noqa: PLW2901
            text = text.replace(os.path.realpath(folder), "@FOLDER@")  # noqa: PLW2901
            (JOURNALS / f"schema-{SCHEMA_VERSION}.{suffix}").write_text(text)


if __name__ == "__main__":
    main()
