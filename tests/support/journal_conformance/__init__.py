"""What every Journal does, as one suite: subclass JournalConformance, in a module with a fixture `journals`.

`journals`, of the scope "module", returns a NewStore: a function that makes an empty store, and returns one that opens
independent handles on it, as separate processes have them. The suite relies on nothing else but the protocol.
"""

from __future__ import annotations

from tests.support.journal_conformance.commits import CommitConformance
from tests.support.journal_conformance.runs import RunConformance
from tests.support.journal_conformance.stores import NewStore, OpenJournal
from tests.support.journal_conformance.tasks import TaskConformance
from tests.support.journal_conformance.undo import UndoConformance

__all__ = [
    "CommitConformance",
    "JournalConformance",
    "NewStore",
    "OpenJournal",
    "RunConformance",
    "TaskConformance",
    "UndoConformance",
]


class JournalConformance(RunConformance, TaskConformance, CommitConformance, UndoConformance):
    """The whole suite."""
