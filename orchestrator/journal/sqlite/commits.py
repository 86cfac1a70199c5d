"""Write what happened to tasks: outcomes, snapshots and events, as part of the current transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from orchestrator.core.output import OutputChunk
from orchestrator.core.records import TERMINAL, RunEvent, TaskOutcome, TaskSnapshot
from orchestrator.core.undo_records import UndoRecord, UndoUpdate
from orchestrator.journal.sqlite import output_rows, queries, rows, undo_rows
from orchestrator.journal.sqlite.batches import split_for_statements
from orchestrator.journal.sqlite.columns import Count, to_json
from orchestrator.journal.sqlite.connection import Database
from runtime.statuses import ExecutionStatus

TASK_STATUSES = (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.INTERRUPTED)
"""The statuses that an outcome can have."""


class CommitWriter:
    """Writes into the journal's file. It knows which runs may have snapshots, so that most commits look for none."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._has_snapshots: set[int] = set()

    def look_for_snapshots(self, run: int) -> None:
        """Look whether a run that is being claimed has snapshots."""
        if self._db.fetch_value(queries.ANY_SNAPSHOT, int, (run,)):
            self._has_snapshots.add(run)

    def put_outcomes(self, run: int, outcomes: Sequence[TaskOutcome]) -> Sequence[TaskOutcome]:
        """Store the outcomes of tasks that are not terminal, which are nearly always all; return them."""
        if not outcomes:
            return outcomes
        if len({outcome.seq for outcome in outcomes}) == len(outcomes) == self._insert_outcomes(run, outcomes):
            return outcomes
        self._db.restart_transaction()  # they come first in their transaction: nothing else is undone
        accepted = self._without_terminal(run, outcomes)
        self._insert_outcomes(run, {outcome.seq: outcome for outcome in accepted}.values())
        return accepted

    def _insert_outcomes(self, run: int, outcomes: Collection[TaskOutcome]) -> int:
        """Insert one outcome a task; return how many tasks changed: fewer if one was terminal already."""
        changed = 0
        for status in TASK_STATUSES:
            new = [rows.outcome_row(outcome) for outcome in outcomes if outcome.status is status]
            parameters = {"run": run, "status": status.value}
            for at, text in split_for_statements(new, rows.by_seq) if new else ():
                if text is None:
                    record = {"seq": new[at].seq, "record": to_json(new[at])}
                    changed += self._db.execute(queries.PUT_OUTCOME, parameters | record)
                else:
                    changed += self._db.execute(queries.PUT_OUTCOMES, {**parameters, "rows": text})
        return changed

    def _without_terminal(self, run: int, outcomes: Sequence[TaskOutcome]) -> list[TaskOutcome]:
        seqs = to_json([outcome.seq for outcome in outcomes])
        terminal = rows.terminal_seqs(self._db.fetch_value(queries.TERMINAL_OF, str, {"run": run, "seqs": seqs}))
        accepted = []
        for outcome in outcomes:
            if outcome.seq not in terminal:
                accepted.append(outcome)
                if outcome.status in TERMINAL:
                    terminal.add(outcome.seq)
        return accepted

    def put_snapshots(self, run: int, snapshots: Sequence[TaskSnapshot], outcomes: Sequence[TaskOutcome]) -> None:
        """Store new snapshots, and drop those of tasks that have ended."""
        if snapshots:
            self._has_snapshots.add(run)
            self._insert_snapshots(run, [rows.snapshot_row(snapshot) for snapshot in snapshots])
        if outcomes and run in self._has_snapshots:
            done = [outcome.seq for outcome in outcomes if outcome.status in TERMINAL]
            self._db.execute(queries.DROP_SNAPSHOTS, {"run": run, "seqs": to_json(done)})

    def _insert_snapshots(self, run: int, snapshots: Sequence[rows.SnapshotRow]) -> None:
        for at, text in split_for_statements(snapshots):
            if text is None:
                self._db.execute(queries.PUT_SNAPSHOT, {"run": run, **msgspec.structs.asdict(snapshots[at])})
            else:
                self._db.execute(queries.PUT_SNAPSHOTS, {"run": run, "rows": text})

    def put_events(self, run: int, events: Sequence[RunEvent], first: int) -> None:
        """Store events, numbered from `first` on."""
        new = [rows.event_row(event) for event in events]
        for at, text in split_for_statements(new) if new else ():
            if text is None:
                parameters = {"run": run, "seq": first + at, "record": to_json(new[at])}
                self._db.execute(queries.PUT_EVENT, parameters)
            else:
                self._db.execute(queries.PUT_EVENTS, {"run": run, "first": first + at, "rows": text})

    def put_output(self, run: int, chunks: Sequence[OutputChunk]) -> None:
        """Store chunks of output behind those that are there, and drop older output of their tasks beyond `keep`."""
        first = self._db.fetch_value(queries.LAST_OUTPUT, Count, (run,)) + 1
        new = [output_rows.output_row(chunk) for chunk in chunks]
        for at, text in split_for_statements(new):
            if text is None:
                parameters = {"run": run, "number": first + at, **msgspec.structs.asdict(new[at])}
                self._db.execute(queries.PUT_CHUNK, parameters)
            else:
                self._db.execute(queries.PUT_OUTPUT, {"run": run, "first": first + at, "rows": text})
        for chunk in chunks:
            if chunk.keep is not None:
                self._db.execute(
                    queries.TRIM_OUTPUT, {"run": run, "task": chunk.task, "first": first, "keep": chunk.keep}
                )

    def put_undo(self, run: int, records: Sequence[UndoRecord], updates: Sequence[UndoUpdate]) -> None:
        """Store new undo records, and change the states of those that are not struck out. They are few."""
        for record in records:
            self._db.execute(queries.PUT_UNDO, {"run": run, **undo_rows.columns(record)})
        for update in updates:
            self._db.execute(queries.UPDATE_UNDO, {"run": run, **undo_rows.changed_columns(update)})
