"""`quiesce events`: print the events of a run, all of them or those of some kinds or of one task."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

from orchestrator.cli import rendering
from orchestrator.cli.declare import Option
from orchestrator.cli.journal_query import AsJson, JournalPath, RunId, follow, print_json, print_line, query
from orchestrator.core.records import RunEvent
from orchestrator.journal import DEFAULT_JOURNAL, Journal
from runtime.errors import UsageError
from runtime.limits import LARGEST_SIZE

if TYPE_CHECKING:
    import typer

PAGE: Final = 500
"""Events whose keys are looked up at once."""

NamedEvent = tuple[RunEvent, str | None]
"""An event and the key of its task."""


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(events)


def events(
    run: RunId = None,
    followed: Annotated[
        bool, Option("--follow", "-f", help="Print new events as they come, until the run has ended.")
    ] = False,
    first: Annotated[
        int, Option("--from", metavar="SEQ", min=1, max=LARGEST_SIZE, help="Begin with the event of this number.")
    ] = 1,
    kind: Annotated[
        list[str] | None,
        Option(metavar="KIND", help="Only events of this kind, for example 'task.*'. May be repeated."),
    ] = None,
    key: Annotated[str | None, Option(metavar="KEY", help="Only events of the task with this key.")] = None,
    tail: Annotated[
        int | None, Option(metavar="N", min=0, max=LARGEST_SIZE, help="Only the last N; new ones with --follow.")
    ] = None,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Print the events of a run, in order."""
    with query(journal) as opened_journal:
        number = opened_journal.get_run(run).id
        reader = EventReader(opened_journal, number, first, kind or (), key)
        for event, name in _tail(reader.read(), tail):
            print_json(rendering.event_object(event, name)) if json else print_line(rendering.event_line(event, name))
        for event, name in follow(opened_journal, number, reader.read) if followed else ():
            print_json(rendering.event_object(event, name)) if json else print_line(rendering.event_line(event, name))


def _tail(events: Iterable[NamedEvent], count: int | None) -> Iterable[NamedEvent]:
    return events if count is None else deque(events, maxlen=count)


class EventReader:
    """Read the events that a user wants to see, each once. Raises UsageError if no task has the `key`."""

    def __init__(self, journal: Journal, run: int, first: int, kinds: Sequence[str], key: str | None) -> None:
        self._journal = journal
        self._run = run
        self._next = first
        self._kinds = kinds
        self._task = None if key is None else task_of_key(journal, run, key)

    def read(self) -> Iterator[NamedEvent]:
        """Yield the wanted events that have come since the last call, with the keys of their tasks."""
        events = self._journal.events(self._run, self._next)
        while page := list(islice(events, PAGE)):
            self._next = page[-1].seq + 1
            wanted = list(filter(self._is_wanted, page))
            keys = self._journal.keys(self._run, {event.task for event in wanted if event.task})
            yield from ((event, keys.get(event.task)) for event in wanted)

    def _is_wanted(self, event: RunEvent) -> bool:
        if self._task is not None and event.task != self._task:
            return False
        return not self._kinds or any(fnmatchcase(event.kind, kind) for kind in self._kinds)


def task_of_key(journal: Journal, run: int, key: str) -> int:
    """Return the number of the task with this key. Raises UsageError if there is none."""
    task = journal.look_up(run, [key]).get(key)
    if task is None:
        raise UsageError(f"the run has no task with the key {key!r}")
    return task.task.seq
