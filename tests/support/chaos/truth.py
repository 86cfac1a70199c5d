"""What the journal says, compared with what is known without it.

Three questions: is everything that was ever shown as finished still there and unchanged; has any task two ends; is
every result what it must be.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.core.records import TERMINAL, TaskOutcome
from orchestrator.journal import RunRecord, open_journal
from runtime.errors import QuiesceError, UsageError
from tests.support.chaos.agents import truth

EMPTY = "is empty, not a journal"
_OUTSIDE = "the executor died"


@dataclass
class JournalAuditor:
    """Looks at a journal again and again, and forgets nothing."""

    journal: Path
    run_id: str
    seen: dict[str, TaskOutcome] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def read(self) -> RunRecord | None:
        """Remember every finished result, and complain of those that have gone or changed. None: no such run."""
        if not self.journal.exists():
            return None
        with ExitStack() as stack:
            try:
                journal = stack.enter_context(open_journal(self.journal, "read"))
            except UsageError as error:
                if EMPTY in str(error):  # a supervisor was killed as it made it
                    return None
                raise
            run = next((run for run in journal.runs() if run.run_id == self.run_id), None)
            if run is None:
                return None
            now = {outcome.key: outcome for outcome in journal.results(run.id, TERMINAL)}
        for key, before in self.seen.items():
            if key not in now:
                self.lost.append(f"{key}: was {before.status}, is gone")
            elif now[key] != before:
                self.lost.append(f"{key}: was {before}, is {now[key]}")
        self.seen.update(now)
        return run

    def try_to_read(self) -> None:
        """In the middle of whatever happens: it may be that nothing can be read."""
        try:
            self.read()
        except QuiesceError:
            pass

    def find_double_ends(self) -> list[str]:
        """Tasks with two ends among the run's events."""
        with open_journal(self.journal, "read") as journal:
            run = next(run for run in journal.runs() if run.run_id == self.run_id)
            ends = Counter(
                event.task for event in journal.events(run.id) if event.kind in ("task.completed", "task.failed")
            )
        return [f"task {task} ended {count} times" for task, count in ends.items() if count > 1]

    def find_wrong_outcomes(self, tasks: Sequence[Mapping[str, Any]], kills: int) -> list[str]:
        """Results that are missing, or are not what they must be; at the end of a complete run.

        `kills`: executors that were killed from outside; a task may have been in the hands of three of them.
        """
        found = []
        for task in tasks:
            outcome, must = self.seen.get(task["key"]), truth(dict(task))
            if outcome is None:
                found.append(f"{task['key']} ({task['kind']}): no result")
            elif must is None and not outcome.ok:
                continue
            elif not outcome.ok:
                if not (_OUTSIDE in (outcome.error or "") and kills >= 2):
                    found.append(f"{task['key']} ({task['kind']}): failed: {outcome.error}")
            elif json.loads(outcome.encoded or b"null") != must:
                found.append(f"{task['key']} ({task['kind']}): wrong value {(outcome.encoded or b'')[:100]!r}")
        return found
