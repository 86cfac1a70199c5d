"""Read tasks, outcomes and events page by page. Each page is a separate transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from orchestrator.core.output import OutputChunk
from orchestrator.core.records import PendingTask, RunEvent, TaskOutcome
from orchestrator.journal.sqlite import output_rows, queries, rows
from orchestrator.journal.sqlite.batches import UNLIMITED, AdaptivePageSize, Page, check_rising
from orchestrator.journal.sqlite.connection import Database
from orchestrator.journal.sqlite.layouts import LayoutRow, Layouts

R = TypeVar("R", PendingTask, TaskOutcome, RunEvent, OutputChunk)


class PageReader:
    """Reads from the journal's file. Raises JournalError for a row that is no valid record."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._pending_pager = AdaptivePageSize()

    def pending(self, statement: str, run: int, after: int, limit: int) -> list[PendingTask]:
        """Return the next page of pending tasks. Its size is adapted from call to call."""
        parameters = {"run": run, "after": after}
        return self._page(statement, rows.pending_tasks, self._pending_pager, parameters, limit)

    def tasks(self, statement: str, run: int, **which: str) -> Iterator[PendingTask]:
        """Iterate over tasks of a run."""
        return self._all(statement, rows.pending_tasks, {"run": run, "after": 0, **which})

    def outcomes(self, statement: str, run: int, **which: str) -> Iterator[TaskOutcome]:
        """Iterate over outcomes of a run."""

        def decode(page: Page) -> list[TaskOutcome]:
            return rows.outcomes(page, self._read_layouts)

        return self._all(statement, decode, {"run": run, "after": 0, **which})

    def events(self, run: int, after: int, limit: int) -> Iterator[RunEvent]:
        """Iterate over events of a run."""

        def decode(page: Page) -> list[RunEvent]:
            return rows.events(page, self._read_layouts)

        return self._all(queries.EVENTS, decode, {"run": run, "after": after}, limit)

    def output(self, run: int, after: int, task: int | None) -> Iterator[OutputChunk]:
        """Iterate over chunks of output of a run, or of one task of it."""
        if task is None:
            return self._all(queries.OUTPUT, output_rows.chunks, {"run": run, "after": after})
        return self._all(queries.OUTPUT_OF_TASK, output_rows.chunks, {"run": run, "after": after, "task": task})

    def _all(
        self, statement: str, decode: Callable[[Page], list[R]], parameters: Mapping[str, Any], limit: int = UNLIMITED
    ) -> Iterator[R]:
        pager = AdaptivePageSize()
        while limit > 0 and (records := self._page(statement, decode, pager, parameters, limit)):
            yield from records
            parameters = {**parameters, "after": records[-1].seq}
            limit -= len(records)

    def _page(
        self,
        statement: str,
        decode: Callable[[Page], list[R]],
        pager: AdaptivePageSize,
        parameters: Mapping[str, Any],
        limit: int,
    ) -> list[R]:
        page = self._db.page(statement, pager, parameters, limit)
        with self._db.decoding():
            records = decode(page)
            check_rising([record.seq for record in records], parameters["after"])
            return records

    def _read_layouts(self) -> Layouts:
        layouts: dict[int, list[str]] = {}
        for row in self._db.fetch_rows(queries.STORED_LAYOUTS, LayoutRow):
            layouts.setdefault(row.id, []).append(row.name)
        return layouts
