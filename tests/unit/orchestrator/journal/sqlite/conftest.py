"""A journal in a file of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.journal.sqlite.journal import SqliteJournal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    with SqliteJournal(str(path)) as opened:
        yield opened


@pytest.fixture
def run(journal: SqliteJournal) -> int:
    """A claimed run without tasks."""
    return journal.claim(journal.create_run("r1", agent="m:f").id).id
