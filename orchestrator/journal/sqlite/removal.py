"""Remove a run from the tables of the SQLite journal. Every table with a column `run` has rows of runs."""

from __future__ import annotations

from typing import Final

from orchestrator.journal.sqlite import queries
from orchestrator.journal.sqlite.columns import Count
from orchestrator.journal.sqlite.connection import Database

REMOVED_AT_ONCE: Final = 2000
"""Tasks or events that are removed in one transaction."""


def remove_hidden_run(db: Database, run: int) -> None:
    """Remove a run that is not `ready`, in steps, so that other processes can write meanwhile."""
    statements = [queries.drop_some(table, columns) for table, columns in _tables(db).items()]
    with db.hastily():
        for statement in statements:
            removed = True
            while removed:
                with db.writing():
                    removed = bool(db.execute(statement, {"run": run, "limit": REMOVED_AT_ONCE}))
        with db.writing():
            db.execute(queries.DROP_HIDDEN_RUN, (run,))


def size_of_run(db: Database, run: int) -> int:
    """Return the bytes of the rows of a run, without what the file needs around them."""
    return sum(
        db.fetch_value(queries.size_of_rows(table, columns), Count, {"run": run})
        for table, columns in _tables(db).items()
    )


def _tables(db: Database) -> dict[str, list[str]]:
    """Return the columns of the tables with rows of runs, those that refer to tasks before the tasks."""
    names = sorted(db.fetch_values(queries.TABLES_OF_RUNS, str), key=lambda name: name == "tasks")
    return {name: db.fetch_values(queries.COLUMNS_OF_TABLE, str, (name,)) for name in names}
