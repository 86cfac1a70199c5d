"""Convert a journal that an older quiesce wrote to today's schema, one version at a time.

A connection that writes converts the file: all steps in one transaction, which SQLite makes atomic also against
SIGKILL and a power cut. So there is no backup copy: the file is of the old schema or of the new one. A connection
that only reads changes nothing: it sees the old file through temporary views that do the same.

How to add a migration:

1. Run `python -m tests.support.journal_fixture` on the code before the change, and commit the two files that it
   writes: a journal of the old schema, and what the old code read from it.
2. Change TABLES and VIEWS in queries.py, and the rows in rows.py and run_rows.py. Add one to SCHEMA_VERSION.
   A new member of a `record` is a new layout: rows that exist keep theirs, and are read by its names.
3. Append a Step to STEPS. `statements` change the tables; triggers and views are absent meanwhile, and are made anew
   afterwards. `selects` are the same change for readers: a SELECT for each changed table. A step uses no definitions of
   queries.py or rows.py that change later (a layout never does).
4. Rename or remove something that the old code writes to (as `body` became `record`). So a process of the
   old version that still has the file open gets an error, and never mixes two formats in one table. A step that only
   adds columns with defaults, layouts or tables does not need that: what the old code writes stays valid.
5. `tests/unit/orchestrator/journal/sqlite/test_migrations.py` finds the new fixture by itself. It compares everything
   that is read, by a reader and by a writer, with what the old code read; extend it by what is special to the step.

*Rejected:* a copy in memory for readers, because a journal can be larger than the memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from orchestrator.journal.sqlite.locks import RunLocks
from orchestrator.journal.sqlite.queries import SCHEMA_VERSION, VIEWS, name_layouts, select_layouts
from runtime.errors import UsageError


class Step(NamedTuple):
    """The way from schema `version - 1` to `version`.

    `selects` has, by table, a SELECT that reads `{source}` in the old form and returns the new one.
    """

    version: int
    statements: Sequence[str]
    selects: Mapping[str, str] = {}


STEPS: Final = (
    Step(
        version=6,  # the members of outcomes and events have names in the file
        statements=(
            """CREATE TABLE layouts(
                id INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (id, position)
            ) WITHOUT ROWID""",
            name_layouts(1, 2),
            "ALTER TABLE outcomes RENAME COLUMN body TO record",
            "ALTER TABLE outcomes ADD COLUMN layout INTEGER NOT NULL DEFAULT 1",
            "ALTER TABLE events RENAME COLUMN body TO record",
            "ALTER TABLE events ADD COLUMN layout INTEGER NOT NULL DEFAULT 2",
        ),
        selects={
            "layouts": select_layouts(1, 2),
            "outcomes": "SELECT run, seq, status, body AS record, 1 AS layout FROM {source}",
            "events": "SELECT run, seq, body AS record, 2 AS layout FROM {source}",
        },
    ),
    Step(
        # outcomes describe exceptions; runs have a parent, whose failed tasks they retry, and labels; output is kept,
        # and how far a living run is
        version=7,
        statements=(
            name_layouts(3),
            "ALTER TABLE runs ADD COLUMN parent INTEGER REFERENCES runs(id)",
            "ALTER TABLE runs ADD COLUMN labels TEXT NOT NULL DEFAULT '{}'",
            """CREATE TABLE output(
                run INTEGER NOT NULL, number INTEGER NOT NULL, task INTEGER NOT NULL, slot INTEGER NOT NULL,
                first INTEGER NOT NULL, size INTEGER NOT NULL, lines TEXT NOT NULL, PRIMARY KEY (run, number)
            ) WITHOUT ROWID""",
            "CREATE INDEX output_by_task ON output(run, task, number)",
            "CREATE TABLE progress(run INTEGER PRIMARY KEY, report TEXT NOT NULL)",
        ),
        selects={
            "layouts": "SELECT id, position, name FROM {source} UNION ALL " + select_layouts(3),  # noqa: S608 - text of ours
            "runs": "SELECT *, NULL AS parent, '{{}}' AS labels FROM {source}",
            "output": "SELECT 0 run, 0 number, 0 task, 0 slot, 0 first, 0 size, '[]' lines WHERE 0",
            "progress": "SELECT 0 AS run, '' AS report WHERE 0",
        },
    ),
    Step(
        version=8,  # undo records: commands that remove what a task has made outside of its processes
        statements=(
            """CREATE TABLE undo(
                run INTEGER NOT NULL, number INTEGER NOT NULL, task INTEGER NOT NULL, attempt INTEGER NOT NULL,
                state TEXT NOT NULL, tries INTEGER NOT NULL, at REAL NOT NULL, error TEXT, host TEXT NOT NULL,
                command TEXT NOT NULL, PRIMARY KEY (run, number)
            ) WITHOUT ROWID""",
            "CREATE INDEX undo_outstanding ON undo(run, number) WHERE state IN ('held', 'running')",
        ),
        selects={
            "undo": "SELECT 0 run, 0 number, 0 task, 0 attempt, '' state, 0 tries, 0.0 at, '' error, '' host,"
            " '' command WHERE 0",
        },
    ),
)
"""All migrations, in order."""

OLDEST: Final = STEPS[0].version - 1
"""The oldest schema that can be converted. Those before it were never released."""


def convert_file(connection: sqlite3.Connection, path: str, locks: RunLocks) -> None:
    """Convert the file in one transaction. Raises UsageError while an older quiesce executes one of its runs."""
    connection.execute("BEGIN IMMEDIATE").close()
    try:
        version = schema_version(connection)
        _refuse_claimed(connection, path, locks, version)
        for kind, name in connection.execute(
            "SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'trigger')"
        ).fetchall():
            connection.execute(f"DROP {kind} {name}").close()
        for step in _steps_from(version):
            for statement in step.statements:
                connection.execute(statement).close()
        for statement in VIEWS:
            connection.execute(statement).close()
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}").close()
        connection.execute("COMMIT").close()
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK").close()
        raise


def convert_for_reader(connection: sqlite3.Connection, version: int) -> None:
    """Hide the tables of an older file behind temporary views of today's form."""
    sources: dict[str, str] = {}
    for step in _steps_from(version):
        for table, select in step.selects.items():
            sources[table] = f"({select.format(source=sources.get(table, f'main.{table}'))})"
    connection.execute("PRAGMA temp_store=MEMORY").close()
    for table, source in sources.items():
        connection.execute(f"CREATE TEMP VIEW {table} AS SELECT * FROM {source}").close()  # noqa: S608 - text of ours


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the version in the file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _steps_from(version: int) -> list[Step]:
    return [step for step in STEPS if step.version > version]


def _refuse_claimed(connection: sqlite3.Connection, path: str, locks: RunLocks, version: int) -> None:
    """Raise UsageError if a run is being executed: its supervisor knows the old schema only."""
    for number, run_id in connection.execute("SELECT id, run_id FROM runs").fetchall():
        pid = locks.owner(number)
        if pid is not None:
            owner = f"process {pid}" if pid else "another process"
            raise UsageError(
                f"journal {path} has schema {version} and must be converted to {SCHEMA_VERSION}, but run {run_id} is"
                f" being executed by {owner}, an older quiesce; stop that one first"
            )
