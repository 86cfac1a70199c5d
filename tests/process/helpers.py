"""What the process tests share: inputs, the journal looked into, agents by name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.journal import RunRecord, open_journal
from orchestrator.outcome import Outcome

AGENTS = Path(__file__).parent / "agents"


def agent(name: str) -> str:
    """`wild:misbehave` as the command line wants it."""
    module, _, function = name.partition(":")
    return f"{AGENTS / module}.py:{function}"


def jsonl(path: Path, values: Iterable[Any]) -> Path:
    """A JSON Lines file of these values."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


@dataclass(frozen=True)
class Seen:
    """One run as its journal has it."""

    record: RunRecord
    outcomes: dict[str, Outcome[Any]]
    recorded: int
    events: list[tuple[str, dict[str, Any]]]

    @property
    def values(self) -> dict[str, Any]:
        """The results of completed tasks by key."""
        return {key: outcome.value for key, outcome in self.outcomes.items() if outcome.ok}

    def statuses(self) -> dict[str, str]:
        """Every outcome's status by key."""
        return {key: str(outcome.status) for key, outcome in self.outcomes.items()}

    def named(self, kind: str) -> list[dict[str, Any]]:
        """The data of the events of one kind, in order."""
        return [data for name, data in self.events if name == kind]


def look(path: Path, run_id: str | None = None) -> Seen:
    """What a journal says of a run (its latest)."""
    with open_journal(path, "read") as journal:
        record = journal.get_run(run_id)
        outcomes = list(map(Outcome.from_record, journal.results(record.id)))
        events = [(event.kind, json.loads(event.data)) for event in journal.events(record.id)]
    return Seen(record, {outcome.key: outcome for outcome in outcomes}, len(outcomes), events)


def runs_in(path: Path) -> int:
    """How many runs a journal has; none if there is no journal."""
    if not path.exists():
        return 0
    with open_journal(path, "read") as journal:
        return len(journal.runs())
