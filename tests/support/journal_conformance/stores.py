"""The stores that the suite asks for, and the handles on them that its tests get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from orchestrator.journal import Journal, Mode


class OpenJournal(Protocol):
    """Opens a handle on one store, independent of the handles that are open already."""

    def __call__(self, mode: Mode = "create") -> Journal: ...


NewStore = Callable[[], OpenJournal]
"""Makes an empty store."""


class StoreFixtures:
    """Fixtures over the fixture `journals` of the module that runs the suite."""

    @pytest.fixture
    def open_journal(self, journals: NewStore) -> OpenJournal:
        """An empty store for this test."""
        return journals()

    @pytest.fixture
    def journal(self, open_journal: OpenJournal) -> Iterator[Journal]:
        with open_journal() as journal:
            yield journal

    @pytest.fixture
    def other(self, journal: Journal, open_journal: OpenJournal) -> Iterator[Journal]:
        """A second handle on the store of `journal`."""
        with open_journal("write") as other:
            yield other

    @pytest.fixture
    def run(self, journal: Journal) -> int:
        """A run without tasks that `journal` has claimed."""
        return journal.claim(journal.create_run("r1", agent="m:f").id).id
