"""What happened is committed as one, and a terminal outcome never changes."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.records import TERMINAL, NewTask, RunEvent, TaskOutcome
from orchestrator.journal import Counts, JournalError
from orchestrator.journal.sqlite import rows
from orchestrator.journal.sqlite.journal import SqliteJournal
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal
from tests.support.examples import scaled
from tests.unit.orchestrator.journal.helpers import COMPLETED, FAILED, INTERRUPTED, add, event, found, outcome

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_SIGNAL = InterruptSignal(reason=InterruptReason.TIMEOUT, message="late", triggered_at=datetime(2030, 1, 1, tzinfo=UTC))
_TIME = st.none() | st.floats(0, 4e9)
_OUTCOME = st.builds(
    TaskOutcome,
    seq=st.just(0),
    key=st.just(""),
    status=st.sampled_from([COMPLETED, FAILED, INTERRUPTED]),
    attempts=st.integers(0, 9),
    encoded=st.none() | st.sampled_from([b"1", b'"\\u0000"', b'{"a":1e400}']),
    error=st.none() | _TEXT,
    detail=st.none() | _TEXT,
    started_at=_TIME,
    ended_at=_TIME,
    slot=st.none() | st.integers(0, 99),
    incarnation=st.none() | st.integers(0, 99),
    signal=st.none() | st.just(_SIGNAL),
)


@settings(max_examples=scaled(20))  # each makes a journal of its own
@given(st.lists(_OUTCOME, min_size=1, max_size=8))
def test_outcomes_come_back_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[TaskOutcome]
) -> None:
    """Every field, in the order of the input, with the key that the task has."""
    given_ = [_replace(each, seq, f"k{seq}") for seq, each in enumerate(outcomes, 1)]
    with SqliteJournal(str(tmp_path_factory.mktemp("journal") / "runs.db")) as journal:
        run = journal.claim(journal.create_run("r", agent=None).id).id
        add(journal, run, *(each.key for each in given_))
        assert journal.commit(run, outcomes=list(reversed(given_))).accepted == list(reversed(given_))
        assert list(journal.results(run)) == given_


def _replace(outcome: TaskOutcome, seq: int, key: str) -> TaskOutcome:
    fields = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
    return TaskOutcome(**{**fields, "seq": seq, "key": key})


@settings(max_examples=scaled(20))  # each makes a journal of its own
@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 4), st.sampled_from([COMPLETED, FAILED, INTERRUPTED])), max_size=5),
        max_size=6,
    )
)
def test_the_first_terminal_outcome_wins(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[tuple[int, ExecutionStatus]]]
) -> None:
    """Against a model: whatever comes in whatever batches, terminal stays, interrupted is replaced."""
    model: dict[int, tuple[int, str, bytes | None]] = {}
    done: set[int] = set()
    with SqliteJournal(str(tmp_path_factory.mktemp("journal") / "runs.db")) as journal:
        run = journal.claim(journal.create_run("r", agent=None).id).id
        add(journal, run, *"abcd")
        number = 0
        for commit in commits:
            batch, accepted = [], []
            for seq, status in commit:
                number += 1
                batch.append(outcome(seq, status, b"%d" % number))
                if seq not in done:
                    accepted.append(batch[-1])
                    model[seq] = (seq, status.value, b"%d" % number)
                if status in TERMINAL:
                    done.add(seq)
            assert journal.commit(run, outcomes=batch, events=[event("e")] * len(batch)).accepted == accepted
            assert found(journal, run) == [model[seq] for seq in sorted(model)]
        assert [each.seq for each in journal.events(run)] == list(range(1, number + 1))


def test_the_file_itself_refuses_to_change_a_terminal_outcome(journal: SqliteJournal, run: int, path: Path) -> None:
    """Not only this code: a constraint in the schema."""
    add(journal, run, "a")
    journal.commit(run, outcomes=[outcome(1)])
    other = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="never changes"):
        other.execute("UPDATE outcomes SET status = 'failed'")
    other.close()


def test_a_late_outcome_does_not_take_others_down_with_it(journal: SqliteJournal, run: int) -> None:
    """What stands beside it in the batch is committed, its events too."""
    add(journal, run, *"abc")
    journal.commit(run, outcomes=[outcome(1)], events=[event("one")])
    late, good = outcome(1, FAILED, None), outcome(2)
    done = journal.commit(run, outcomes=[late, good, outcome(3, INTERRUPTED)], events=[event("two"), event("three")])
    assert [each.seq for each in done.accepted] == [2, 3]
    assert done.events == range(2, 4)
    assert found(journal, run) == [(1, "completed", b"1"), (2, "completed", b"1"), (3, "interrupted", b"1")]


def test_counts_are_by_status_and_add_up(journal: SqliteJournal, run: int) -> None:
    """Pending ones have no outcome at all."""
    assert journal.counts(run) == Counts()
    add(journal, run, *"abcdef")
    journal.commit(run, outcomes=[outcome(1), outcome(2), outcome(3, FAILED), outcome(4, INTERRUPTED)])
    counts = journal.counts(run)
    assert counts == Counts(pending=2, completed=2, failed=1, interrupted=1)
    assert counts.total == 6


def test_results_can_be_of_some_statuses_only(journal: SqliteJournal, run: int) -> None:
    """Nothing is filtered when nothing is asked for."""
    add(journal, run, *"abc")
    journal.commit(run, outcomes=[outcome(1), outcome(2, FAILED), outcome(3, INTERRUPTED)])
    assert [each.seq for each in journal.results(run, [FAILED, INTERRUPTED])] == [2, 3]
    assert [each.seq for each in journal.results(run, [])] == []
    assert [each.seq for each in journal.results(run)] == [1, 2, 3]


def test_long_results_and_events_come_in_pages(
    journal: SqliteJournal, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, in order, however the pages fall; the reader holds no transaction open between them."""
    monkeypatch.setattr(rows, "PAGE", 2000)
    journal.add_tasks(run, [NewTask(str(n), b"0") for n in range(1, 701)])
    big = b'"%s"' % (b"x" * 300)
    journal.commit(
        run, outcomes=[outcome(n, value=big) for n in range(1, 701)], events=[event(f"e{n}") for n in range(1, 701)]
    )
    results, events = journal.results(run), journal.events(run)
    assert (next(results).seq, next(events).seq) == (1, 1)
    assert not journal._db._connection.in_transaction
    assert [each.seq for each in results] == list(range(2, 701))
    assert [each.seq for each in events] == list(range(2, 701))
    assert [each.seq for each in journal.events(run, 650, 3)] == [650, 651, 652]


@pytest.mark.parametrize("chunk", [1, 300, 10_000])
def test_events_are_numbered_without_gaps(
    journal: SqliteJournal, run: int, path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Across statements, commits, NULs and restarts, and in each run on its own."""
    monkeypatch.setattr(rows, "CHUNK", chunk)
    given_ = [
        RunEvent(
            kind=f"k{n}\0" if n % 5 == 0 else f"k{n}",
            at=float(n),
            data=b'{"n":"\\u0000%d"}' % n,
            address="a::b",
            task=n,
            slot=1,
        )
        for n in range(1, 31)
    ]
    assert journal.commit(run, events=given_[:20]).events == range(1, 21)
    journal.close()
    with SqliteJournal(str(path)) as again:
        again.claim(run)
        assert again.commit(run, events=given_[20:]).events == range(21, 31)
        other = again.claim(again.create_run("r2", agent=None).id).id
        assert again.commit(other, events=given_[:1]).events == range(1, 2)
        assert [(each.seq, each.kind, each.data, each.at) for each in again.events(run)] == [
            (n, each.kind, each.data, each.at) for n, each in enumerate(given_, 1)
        ]


def test_text_that_has_no_utf8_is_kept_readable(journal: SqliteJournal, run: int) -> None:
    """An error message with a lone surrogate (a file name, say) does not break the batch."""
    add(journal, run, "a")
    bad = TaskOutcome(seq=1, key="a", status=FAILED, attempts=1, error="no file \udcff", detail="\ud800")
    journal.commit(run, outcomes=[bad], events=[RunEvent(kind="k\udcff", at=1.0)])
    (result,) = journal.results(run)
    assert result.error == "no file \\udcff"


def test_a_value_that_is_not_what_it_claims_to_be_is_kept_as_bytes(journal: SqliteJournal, run: int) -> None:
    """The supervisor never opens values, so it must bear anything."""
    add(journal, run, *"ab")
    journal.commit(run, outcomes=[outcome(1, value=b"\xff\xfe"), outcome(2, value=b"{oops")])
    first, second = journal.results(run)
    assert (first.encoded, first.encoding) == (b"\xff\xfe", rows.INVALID)
    assert (second.encoded, second.encoding) == (b"{oops", "json")


def test_a_commit_needs_a_claim_and_its_own_transaction(journal: SqliteJournal, run: int) -> None:
    """Otherwise numbers could clash, or what was reported would not be durable."""
    with journal.transaction(), pytest.raises(RuntimeError):
        journal.commit(run, events=[event("e")])
    journal.release(run)
    with pytest.raises(RuntimeError):
        journal.commit(run, events=[event("e")])


def test_a_failed_commit_leaves_no_trace_and_no_gap(
    journal: SqliteJournal, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or nothing; the next one gets the numbers."""
    add(journal, run, "a")
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.journal.sqlite.queries.USE_ATTEMPTS", "UPDATE nowhere SET x = 1")
        with pytest.raises(JournalError, match="nowhere"):
            journal.commit(run, outcomes=[outcome(1)], events=[event("e")], attempts={1: 1})
    assert found(journal, run) == []
    assert journal.commit(run, outcomes=[outcome(1)], events=[event("e")]).events == range(1, 2)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_file_deleted_underneath_is_noticed(journal: SqliteJournal, run: int, path: Path, suffix: str) -> None:
    """SQLite alone would go on and write into nothing."""
    journal.commit(run, events=[event("e")])
    path.with_name(path.name + suffix).unlink()
    with pytest.raises(JournalError, match="deleted, or replaced, underneath"):
        journal.commit(run, events=[event("e")])


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("left", [0, 5000])
def test_a_file_cut_short_underneath_is_noticed(
    journal: SqliteJournal, run: int, path: Path, suffix: str, left: int
) -> None:
    """SQLite alone would go on behind its end, and no reader would find what was committed before."""
    add(journal, run, *map(str, range(1, 101)))
    journal.commit(run, outcomes=[outcome(n, value=b'"%s"' % (b"x" * 1000)) for n in range(1, 101)])
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA wal_checkpoint(PASSIVE)")
    other.close()
    journal.commit(run, events=[event("e")] * 100)
    journal.commit(run, events=[event("e")] * 100)
    os.truncate(path.with_name(path.name + suffix), left)
    with pytest.raises(JournalError, match="was cut short underneath this process"):
        journal.commit(run, events=[event("e")])
    with pytest.raises(JournalError):
        journal.finish_run(run, COMPLETED)


def test_a_log_cut_short_does_not_harm_what_was_in_the_file(journal: SqliteJournal, run: int, path: Path) -> None:
    """What a checkpoint had moved there is still there; what was only in the log is executed again."""
    add(journal, run, "a", "b")
    journal.commit(run, outcomes=[outcome(1)])
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # by another connection, and in order
    other.close()
    journal.commit(run, outcomes=[outcome(2)])
    os.truncate(path.with_name(path.name + "-wal"), 0)
    with pytest.raises(JournalError):
        journal.commit(run, events=[event("e")])
    journal.close()
    with SqliteJournal(str(path), "write") as again:
        assert again.counts(run).completed == 1
        assert [task.key for task in again.pending(run)] == ["b"]


def test_an_index_cut_short_is_made_anew(journal: SqliteJournal, run: int, path: Path) -> None:
    """All of it is in the log. (Touching what is cut off would be death by SIGBUS.)"""
    add(journal, run, "a", "b")
    journal.commit(run, outcomes=[outcome(1)])
    os.truncate(path.with_name(path.name + "-shm"), 0)
    journal.commit(run, outcomes=[outcome(2)])
    assert journal.counts(run).completed == 2


def test_vacuum_and_checkpoints_by_others_are_no_damage(journal: SqliteJournal, run: int, path: Path) -> None:
    big = b'"%s"' % (b"x" * 1000)
    journal.add_tasks(run, [NewTask(str(n), big) for n in range(1, 1001)])
    for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "DELETE FROM tasks WHERE seq > 10", "VACUUM"):
        other = sqlite3.connect(path, isolation_level=None)
        other.execute(statement)
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.close()
        journal.commit(run, events=[event("e")])
        journal.commit(run, events=[event("e")])
    assert path.stat().st_size < 200_000


def test_the_wal_does_not_grow_for_ever(journal: SqliteJournal, run: int, path: Path) -> None:
    """Checkpoints keep it at 16 MB and a batch; closing empties it."""
    blob = b'"%s"' % (b"x" * 100_000)
    journal.add_tasks(run, [NewTask(str(n), b"0") for n in range(1, 301)])
    wal = path.with_name(path.name + "-wal")
    for first in range(1, 301, 20):
        journal.commit(run, outcomes=[outcome(n, value=blob) for n in range(first, first + 20)])
        assert wal.stat().st_size < 24e6
    assert path.stat().st_size > 10e6
    journal.close()
    assert not wal.exists()
