"""A journal of an earlier schema reads as it did, and becomes one of today's schema with the first writer."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from orchestrator.core.records import NewTask, RunEvent, TaskOutcome
from orchestrator.journal import JournalError, open_journal
from orchestrator.journal.sqlite.journal import SqliteJournal
from orchestrator.journal.sqlite.locks import RunLocks
from orchestrator.journal.sqlite.migrations import OLDEST, STEPS
from orchestrator.journal.sqlite.queries import EVENT_LAYOUT, LAYOUTS, OUTCOME_LAYOUT, SCHEMA_VERSION
from orchestrator.journal.sqlite.rows import EventRow, OutcomeRow
from runtime.errors import UsageError
from tests.support.journal_fixture import SCHEMAS, known, read_all, restore
from tests.support.journal_records import FAILED, outcome


def structure(path: Path) -> list[tuple[str, ...]]:
    """Return the tables with their columns, and the text of everything else."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        objects = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
        return sorted(
            (name, *map(str, connection.execute(f"PRAGMA table_info({name})"))) if kind == "table" else (name, text)
            for kind, name, text in objects
        )


def version_of(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)


def test_every_step_has_a_journal_of_the_schema_before_it() -> None:
    """So that no migration is added without its test."""
    assert [step.version for step in STEPS] == list(range(OLDEST + 1, SCHEMA_VERSION + 1))
    assert sorted(SCHEMAS) == list(range(OLDEST, SCHEMA_VERSION))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_reader_finds_what_the_old_code_found_and_changes_nothing(schema: int, path: Path) -> None:
    expected = restore(schema, path)
    before = path.read_bytes()
    with open_journal(path, "read") as journal:
        found = read_all(journal)
        assert known(found, expected) == expected
        with pytest.raises(JournalError, match="read-only"):
            journal.add_tasks(1, [NewTask("new", b"1")])
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_writer_converts_the_file_and_finds_what_the_old_code_found(schema: int, path: Path) -> None:
    expected = restore(schema, path)
    for _ in range(2):  # the second one finds it converted
        with open_journal(path, "write") as journal:
            found = read_all(journal)
            assert known(found, expected) == expected
    assert version_of(path) == SCHEMA_VERSION
    new = path.with_name("new.db")
    open_journal(new).close()
    assert structure(path) == structure(new)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_converted_journal_goes_on(schema: int, path: Path) -> None:
    """Claims, outcomes, events and their numbers continue where the old code stopped."""
    restore(schema, path)
    with open_journal(path, "write") as journal:
        run = journal.claim(journal.get_run("odd").id)
        assert run.starts == 2
        committed = journal.commit(run.id, outcomes=[outcome(12), outcome(13)], events=[RunEvent(kind="k", at=4.0)])
        assert [each.seq for each in committed.accepted] == [12, 13]
        assert committed.events == range(5, 6)
        assert [task.key for task in journal.pending(run.id)] == ["left 2"]
    with contextlib.closing(sqlite3.connect(path)) as other, pytest.raises(sqlite3.IntegrityError, match="never"):
        other.execute("UPDATE outcomes SET status = 'failed'")


def test_the_old_code_cannot_write_into_a_converted_file(path: Path) -> None:
    """A process that has had it open since before gets an error, and mixes no two formats."""
    restore(5, path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        assert old.execute("SELECT count(body) FROM outcomes").fetchone() == (12,)
        open_journal(path, "write").close()
        with pytest.raises(sqlite3.OperationalError, match="body"):
            old.execute("INSERT INTO outcomes(run, seq, status, body) VALUES (3, 13, 'completed', '[]')")
        with pytest.raises(sqlite3.OperationalError, match="body"):
            old.execute("INSERT INTO events(run, seq, body) VALUES (3, 9, '[]')")


def test_a_file_whose_run_is_being_executed_is_not_converted(path: Path) -> None:
    """Its supervisor is an older quiesce. Readers are served meanwhile."""
    restore(5, path)
    locks = RunLocks.open(str(path), to_claim=True)
    assert locks.claim(2)
    try:
        with pytest.raises(UsageError, match=r"has schema 5 .* run stopped is being executed by process \d+") as caught:
            open_journal(path, "write")
        assert "\n" not in str(caught.value)
        with open_journal(path, "read") as journal:
            assert [run.run_id for run in journal.runs()] == ["done", "stopped", "odd"]
    finally:
        locks.release(2)
        locks.close()
    assert version_of(path) == 5
    open_journal(path, "write").close()
    assert version_of(path) == SCHEMA_VERSION


def test_a_conversion_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is one line; the next writer tries again."""
    expected = restore(5, path)

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.journal.sqlite.migrations.VIEWS", ("CREATE VIEW runs AS SELECT 1",))
        with pytest.raises(UsageError, match="cannot open journal") as caught:
            open_journal(path, "write")
    assert "\n" not in str(caught.value)
    assert version_of(path) == 5
    with open_journal(path, "read") as journal:
        assert known(read_all(journal), expected) == expected


def test_damage_stays_damage(path: Path) -> None:
    """The conversion looks into no row; what is no record is reported when it is read."""
    restore(5, path)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE events SET body = '[1, 2' WHERE run = 3 AND seq = 2")
        other.execute("UPDATE events SET body = '[1,2,3]' WHERE run = 2 AND seq = 2")
    other.close()
    for mode in ("read", "write", "read"):
        with open_journal(path, mode) as journal:
            assert len(list(journal.events(1))) == 8
            for run in (2, 3):
                with pytest.raises(JournalError, match="the file is corrupt"):
                    list(journal.events(run))


def test_the_file_names_the_members_of_its_records(path: Path) -> None:
    """So it can be read without this program, by the views or by hand."""
    assert LAYOUTS[OUTCOME_LAYOUT] == OutcomeRow.__struct_fields__
    assert LAYOUTS[EVENT_LAYOUT] == EventRow.__struct_fields__
    with SqliteJournal(str(path)) as journal:
        run = journal.claim(journal.create_run("r", agent=None).id).id
        journal.add_tasks(run, [NewTask("a", b"1")])
        journal.commit(run, outcomes=[outcome(1)], events=[RunEvent(kind="k", at=1.5, slot=2)])
    with contextlib.closing(sqlite3.connect(path)) as other:
        names = other.execute("SELECT name FROM layouts WHERE id = (SELECT layout FROM outcomes) ORDER BY position")
        (record,) = other.execute("SELECT record FROM outcomes").fetchone()
        named = dict(zip((name for (name,) in names), json.loads(record), strict=True))
        assert {name: value for name, value in named.items() if value is not None} == {
            "seq": 1, "status": "completed", "attempts": 1, "value": "1", "encoding": "json"
        }  # fmt: skip
        assert other.execute("SELECT value, encoding, error FROM outcome_list").fetchone() == ("1", "json", None)
        assert other.execute("SELECT kind, at, data, slot FROM event_list").fetchone() == ("k", 1.5, "{}", 2)


def test_rows_of_another_layout_are_read_by_its_names(journal: SqliteJournal, run: int, path: Path) -> None:
    """In another order, with members that are not known, and without some that are; beside rows of today's layout."""
    journal.add_tasks(run, [NewTask(key, b"1") for key in "abc"])
    journal.commit(run, outcomes=[outcome(1), outcome(3)], events=[RunEvent(kind="new", at=2.5)])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        names = enumerate(("error", "seq", "unknown", "attempts", "status", "kind", "at"))
        other.executemany("INSERT INTO layouts VALUES(9, ?, ?)", names)
        record = '["boom",2,[],4,"failed","old",1.5]'
        other.execute("INSERT INTO outcomes VALUES(?, 2, 'failed', ?, 9)", (run, record))
        other.execute("INSERT INTO events VALUES(?, 2, ?, 9)", (run, record))
        other.execute("INSERT INTO events VALUES(?, 3, ?, 8)", (run, record))
        assert other.execute("SELECT error, attempts FROM outcome_list WHERE seq = 2").fetchone() == ("boom", 4)
    first, second, third = journal.results(run)
    assert (first.seq, third.seq) == (1, 3)
    assert second == TaskOutcome(seq=2, key="b", status=FAILED, attempts=4, error="boom")
    assert list(journal.events(run, limit=2)) == [
        RunEvent(kind="new", at=2.5, seq=1),
        RunEvent(kind="old", at=1.5, seq=2),
    ]
    with pytest.raises(JournalError, match="the file is corrupt"):  # layout 8 has no names
        list(journal.events(run))
