"""What is wrong with a journal is said in one clear line, as a UsageError."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core.records import NewTask, RunEvent
from orchestrator.journal import DEFAULT_JOURNAL, JournalError, Mode, open_journal
from orchestrator.journal.sqlite import connect
from orchestrator.journal.sqlite.journal import SqliteJournal
from orchestrator.journal.sqlite.queries import SCHEMA_VERSION
from runtime.errors import UsageError
from tests.support.journal_records import outcome


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE cats(name)")
    other.close()


def _foreign_with_id(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA application_id=1")
    other.close()


def _newer(path: Path) -> None:
    SqliteJournal(str(path)).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version=99")
    other.close()


def _older(path: Path) -> None:
    SqliteJournal(str(path)).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version=1")
    other.close()


def _corrupt(path: Path) -> None:
    SqliteJournal(str(path)).close()
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\xa5" * 3996
    path.write_bytes(data)


@pytest.mark.parametrize("mode", ["create", "write", "read"])
@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda path: path.write_text("{}\n"), "is not a journal: it is another kind of file"),
        (lambda path: path.write_bytes(b"\x89PNG" * 5000), "is not a journal: it is another kind of file"),
        (_foreign, "is not a journal: it is another program's SQLite database"),
        (_foreign_with_id, "is not a journal: it is another program's SQLite database"),
        (_newer, "was written by a newer quiesce: schema 99, this one knows 8;"),
        (_older, "was written by an older quiesce: schema 1, this one converts from 5 on;"),
        (_corrupt, "the file is corrupt"),
        (lambda path: path.mkdir(), "it is a directory"),
        (os.mkfifo, "it is not a regular file"),
    ],
)
def test_what_is_not_a_journal_is_refused_and_left_alone(
    path: Path, prepare: Callable[[Path], object], says: str, mode: Mode
) -> None:
    """One line that names the file; nothing is written into it or beside it."""
    prepare(path)
    before = (path.read_bytes() if path.is_file() else None, sorted(os.listdir(path.parent)))
    with pytest.raises(UsageError) as caught:
        open_journal(path, mode)
    message = str(caught.value)
    assert says in message
    assert str(path) in message
    assert "\n" not in message
    after = sorted(name for name in os.listdir(path.parent) if not name.endswith(("-wal", "-shm")))
    assert (path.read_bytes() if path.is_file() else None, after) == before


@pytest.mark.parametrize("mode", ["write", "read"])
def test_a_journal_that_must_be_there_is_not_made(path: Path, mode: Mode) -> None:
    """A typing error in --journal must not leave an empty journal behind; an empty file is none either."""
    with pytest.raises(UsageError, match=f"there is no journal at {path}"):
        open_journal(path, mode)
    assert not path.exists()
    path.touch()
    with pytest.raises(UsageError, match="is empty, not a journal"):
        open_journal(path, mode)
    assert path.stat().st_size == 0


def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    """mktemp makes such."""
    path.touch()
    with open_journal(path) as journal:
        assert journal.runs() == []


def test_a_missing_directory_is_named(path: Path) -> None:
    """It is not created: more likely it is a typing error, or a volume that is not mounted."""
    with pytest.raises(UsageError, match=f"there is no directory {path.parent / 'x'}"):
        open_journal(path.parent / "x" / "runs.db")


@pytest.mark.parametrize("where", ["postgresql://host/db", "postgres://host/db", "mysql://host/db"])
def test_another_kind_of_journal_is_refused_in_words(where: str) -> None:
    """PostgreSQL comes later."""
    with pytest.raises(UsageError, match="give the path of a file"):
        open_journal(where)


def test_a_path_may_hold_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters that mean something in a URL, a relative path, a symbolic link."""
    odd = tmp_path / "a b?c#d%20é"
    odd.mkdir()
    monkeypatch.chdir(odd)
    with open_journal(DEFAULT_JOURNAL) as journal:
        journal.claim(journal.create_run("r", agent=None).id)
        link = tmp_path / "link.db"
        link.symlink_to(odd / DEFAULT_JOURNAL)
        with open_journal(link, "write") as other:
            assert other.location == journal.location
            owner = other.get_run("r").owner
            assert owner is not None
            assert owner.alive
    assert sorted(os.listdir(odd)) == [DEFAULT_JOURNAL]


def test_a_url_names_the_file_too(path: Path) -> None:
    open_journal(path).close()
    with open_journal(f"sqlite:///{path}", "read") as journal:
        assert journal.location == str(path)


def test_reading_changes_nothing(path: Path) -> None:
    """The query commands cannot write, by construction."""
    with open_journal(path) as journal:
        run = journal.create_run("r", agent=None).id
    before = path.read_bytes()
    with open_journal(path, "read") as reader, pytest.raises(JournalError, match="read-only"):
        reader.add_tasks(run, [NewTask("a", b"1")])
    assert path.read_bytes() == before


def test_damage_that_shows_later_is_one_line_too(path: Path) -> None:
    """Opening looks at the first page only; the rest is found when it is read."""
    with open_journal(path) as journal:
        run = journal.create_run("r", agent=None).id
        journal.add_tasks(run, [NewTask(str(n), b'"%s"' % (b"x" * 500)) for n in range(1, 2001)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\xa5" * (len(data) - len(data) // 2)
    path.write_bytes(data)
    with open_journal(path, "read") as journal, pytest.raises(JournalError) as caught:
        after = 0
        while page := journal.pending(run, after):
            after = page[-1].seq
    assert "the file is corrupt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_that_is_no_record_is_one_line_too(path: Path) -> None:
    """SQLite has no checksums: a flipped bit can leave its pages in order and our JSON not."""
    with open_journal(path) as journal:
        run = journal.claim(journal.create_run("r", agent=None).id).id
        journal.add_tasks(run, [NewTask("a", b"1")])
        journal.commit(run, events=[RunEvent(kind="k", at=1.0)])
    with sqlite3.connect(path) as other:
        other.execute("UPDATE events SET record = '[1, 2'")
        other.execute("UPDATE runs SET status = 'nonsense'")
    other.close()
    with open_journal(path, "read") as journal:
        for look in (lambda: list(journal.events(run)), journal.runs):
            with pytest.raises(JournalError, match="the file is corrupt"):
                look()


@pytest.mark.parametrize("token", ["a/b", "a\0b", b"\xff"])
def test_a_damaged_token_is_refused(journal: SqliteJournal, path: Path, token: object) -> None:
    """It names a cgroup: nothing else must be meant by it."""
    run = journal.create_run("r", agent=None).id
    journal.claim(run, "1-a")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE supervisors SET token = ?", (token,))
    with pytest.raises(JournalError, match="the file is corrupt"):
        journal.other_supervisors(run, "")


def test_the_views_spell_it_out_for_people(path: Path) -> None:
    """`sqlite3 quiesce.db 'SELECT * FROM outcome_list'` needs no manual."""
    with open_journal(path) as journal:
        run = journal.claim(journal.create_run("r", agent=None).id).id
        journal.add_tasks(run, [NewTask("a", b"1")])
        journal.commit(run, outcomes=[outcome(1, value=b'{"n":1}')], events=[RunEvent(kind="k", at=1.5, task=1)])
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT run_id, key, status, attempts, value FROM outcome_list").fetchall() == [
            ("r", "a", "completed", 1, '{"n":1}')
        ]
        assert other.execute("SELECT run_id, seq, kind, at, task FROM event_list").fetchall() == [("r", 1, "k", 1.5, 1)]
    other.close()


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than a syntax error in mid-run."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    with pytest.raises(UsageError, match=r"a journal needs 3\.33\.0 or later"):
        open_journal(path)


def test_locks_that_cannot_be_written_are_no_use_to_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that turned read-only: the kernel's own word for it would be `bad file descriptor`."""
    path = tmp_path / "j.db"
    open_journal(path).close()
    real = os.open

    def read_only(name: str | os.PathLike[str], flags: int, *more: int) -> int:
        if os.fspath(name) == os.fspath(path) and flags & os.O_RDWR:
            raise OSError(errno.EROFS, "Read-only file system", os.fspath(name))
        return real(name, flags, *more)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(UsageError, match="Read-only file system"):
        open_journal(path)
    open_journal(path, "read").close()


def test_a_journal_that_is_made_while_it_is_looked_at_is_no_stranger(path: Path) -> None:
    """Its marks are read as they were at one moment: a mix of a fresh file's and a journal's is neither's."""
    path.touch()
    looking = sqlite3.connect(path, isolation_level=None)
    making = sqlite3.connect(path, timeout=0, isolation_level=None)
    made: list[str] = []

    def make(statement: str) -> None:
        if "user_version" in statement and not made:
            made.append(statement)
            with contextlib.suppress(sqlite3.OperationalError):  # who reads keeps it out
                connect._initialise(making)

    looking.set_trace_callback(make)
    assert connect._verify(looking, str(path)) == connect.EMPTY
    assert made
    looking.set_trace_callback(None)
    if connect._verify(making, str(path)) == connect.EMPTY:
        connect._initialise(making)
    assert connect._verify(looking, str(path)) == SCHEMA_VERSION
    looking.close()
    making.close()


@pytest.mark.parametrize(("group", "permissions"), [(False, 0o600), (True, 0o660)])
def test_a_new_journal_is_its_owners_or_also_its_groups_whatever_the_umask_says(
    path: Path, group: bool, permissions: int
) -> None:
    """So are the files beside it. An old one stays as it is."""
    umask = os.umask(0o022)
    try:
        with open_journal(path, group=group) as journal:
            journal.create_run("r", agent=None)
            assert {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {
                path.name + suffix: permissions for suffix in ("", "-wal", "-shm")
            }
        path.chmod(0o640)
        open_journal(path).close()
        assert path.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(umask)


@pytest.mark.parametrize("mode", ["create", "write", "read"])
def test_a_journal_with_two_names_is_refused_with_the_cure(path: Path, mode: Mode) -> None:
    """What is committed under one name is not seen under the other, and both would be claimed."""
    open_journal(path).close()
    other = path.with_name("other.db")
    os.link(path, other)
    for name in (path, other):
        with pytest.raises(UsageError, match=r"has 2 names \(hard links\).*make a copy instead"):
            open_journal(name, mode)
    other.unlink()
    open_journal(path, mode).close()


def test_a_second_name_that_comes_later_is_refused_while_the_first_goes_on(path: Path) -> None:
    with open_journal(path) as journal:
        run = journal.claim(journal.create_run("r", agent=None).id).id
        os.link(path, path.with_name("other.db"))
        with pytest.raises(UsageError, match="hard links"):
            open_journal(path.with_name("other.db"))
        journal.commit(run, events=[RunEvent(kind="k", at=1.0)])


def test_a_query_creates_nothing_and_sees_a_writer_that_comes(path: Path) -> None:
    """At rest the file alone is read. A writer that comes meanwhile, and one that has gone again, is not overlooked."""
    with open_journal(path) as journal:
        run = journal.create_run("r", agent=None).id
    with open_journal(path, "read") as reader:
        assert [each.run_id for each in reader.runs()] == ["r"]
        assert os.listdir(path.parent) == [path.name]
        version = reader.data_version()
        with open_journal(path, "write") as journal:
            journal.add_tasks(run, [NewTask("a", b"1")])
            assert reader.data_version() != version
            assert reader.counts(run).pending == 1
        with open_journal(path, "write") as journal:
            journal.add_tasks(run, [NewTask("b", b"1")])
        assert reader.counts(run).pending == 2


def test_a_second_reader_beside_a_writer_creates_nothing_and_takes_nothing_away(path: Path) -> None:
    with open_journal(path) as journal:
        run = journal.claim(journal.create_run("r", agent=None).id).id
        before = sorted(os.listdir(path.parent))
        with open_journal(path, "read") as reader:
            owner = reader.get_run().owner
            assert owner is not None
            assert (owner.pid, owner.alive) == (os.getpid(), True)
        assert sorted(os.listdir(path.parent)) == before
        journal.commit(run, events=[RunEvent(kind="k", at=1.0)])


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EOPNOTSUPP, errno.EIO])
@pytest.mark.parametrize("group", [False, True])
def test_a_file_system_without_permissions_may_have_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int, group: bool
) -> None:
    def refuse(_fd: int, _mode: int) -> None:
        raise OSError(refusal, os.strerror(refusal))

    before = os.listdir("/dev/fd")
    monkeypatch.setattr(os, "fchmod", refuse)
    if refusal == errno.EIO or group:
        with pytest.raises(UsageError, match=os.strerror(refusal)):
            open_journal(tmp_path / "j.db", group=group)
    else:
        open_journal(tmp_path / "j.db").close()
    assert os.listdir("/dev/fd") == before
