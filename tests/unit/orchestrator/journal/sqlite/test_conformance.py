"""The SQLite journal keeps the promises of a Journal, however it cuts its statements and pages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from orchestrator.journal import open_journal
from orchestrator.journal.sqlite import batches
from tests.support.journal_conformance import CommitConformance, JournalConformance, NewStore, TaskConformance


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> NewStore:
    return lambda: partial(open_journal, tmp_path_factory.mktemp("journal") / "runs.db")


@pytest.fixture(scope="class", params=[1, 300, 1000])
def small_pieces(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let few rows fit into a statement or a page, and none into a statement of one byte."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CHUNK", request.param)
        patch.setattr(batches, "PAGE", 2000)
        yield


class TestSqliteJournal(JournalConformance):
    pass


@pytest.mark.usefixtures("small_pieces")
class TestSqliteJournalInSmallPieces(TaskConformance, CommitConformance):
    pass
