"""Undo records are durable as they are, and one that is struck out never changes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.core.records import RunEvent
from orchestrator.core.undo_records import OUTSTANDING, UndoRecord, UndoState, UndoUpdate
from orchestrator.journal import Journal
from runtime.ipc.undo import UndoCommand
from tests.support.examples import scaled
from tests.support.journal_conformance.stores import NewStore, OpenJournal, StoreFixtures

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_COMMAND = st.builds(
    UndoCommand,
    kind=_TEXT,
    argv=st.lists(_TEXT, min_size=1, max_size=4),
    name=_TEXT,
    env=st.dictionaries(_TEXT, _TEXT, max_size=3),
    cwd=_TEXT,
    timeout=st.floats(0, 1e6),
    absent_codes=st.lists(st.integers(0, 255), max_size=2),
    anywhere=st.booleans(),
)
_RECORD = st.builds(
    UndoRecord,
    number=st.just(0),
    task=st.integers(0, 9),
    attempt=st.integers(0, 9),
    command=_COMMAND,
    host=_TEXT,
    state=st.sampled_from(list(UndoState)),
    tries=st.integers(0, 9),
    error=st.none() | _TEXT,
    at=st.floats(0, 4e9),
)


def record(number: int, *argv: str, task: int = 1) -> UndoRecord:
    """Return a record whose resource may exist."""
    return UndoRecord(
        number=number, task=task, attempt=1, command=UndoCommand(kind="c", argv=[*argv] or ["rm"]), host="h", at=1.0
    )


class UndoConformance(StoreFixtures):
    # each example makes a store of its own; each kind of journal is another executor
    @settings(max_examples=scaled(20), suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
    @given(records=st.lists(_RECORD, max_size=5))
    def test_records_come_back_as_they_went_in(self, journals: NewStore, records: list[UndoRecord]) -> None:
        given_ = [replace(each, number=3 * place) for place, each in enumerate(records, 1)]
        with journals()() as journal:
            run = journal.claim(journal.create_run("r", agent=None).id).id
            journal.commit(run, undo=given_)
            assert journal.undo_records(run) == given_
            assert journal.undo_records(run, outstanding=True) == [each for each in given_ if each.state in OUTSTANDING]
            assert journal.last_undo(run) == 3 * len(given_)

    def test_a_record_is_visible_to_others_as_soon_as_it_is_committed(
        self, journal: Journal, other: Journal, run: int
    ) -> None:
        journal.commit(run, undo=[record(1)], events=[RunEvent(kind="undo.recorded", at=1.0)])
        assert other.undo_records(run) == [record(1)]
        assert [each.kind for each in other.events(run)] == ["undo.recorded"]

    def test_new_records_and_their_updates_are_one_commit(self, journal: Journal, run: int) -> None:
        """Updates apply after the records, in order."""
        updates = [UndoUpdate(1, UndoState.RUNNING, 1, 2.0), UndoUpdate(1, UndoState.HELD, 1, 3.0, "exit code 7")]
        journal.commit(run, undo=[record(1), record(2)], undo_updates=updates)
        first, second = journal.undo_records(run, outstanding=True)
        assert (first.state, first.tries, first.at, first.error) == (UndoState.HELD, 1, 3.0, "exit code 7")
        assert second == record(2)

    @pytest.mark.parametrize("end", sorted(set(UndoState) - OUTSTANDING))
    def test_what_is_struck_out_never_changes(self, end: UndoState, journal: Journal, run: int) -> None:
        journal.commit(run, undo=[record(1)], undo_updates=[UndoUpdate(1, end, 1, 2.0)])
        for state in UndoState:
            journal.update_undo(run, [UndoUpdate(1, state, 9, 9.0, "late")])
        (left,) = journal.undo_records(run)
        assert (left.state, left.tries, left.at, left.error) == (end, 1, 2.0, None)
        assert journal.undo_records(run, outstanding=True) == []

    def test_records_are_updated_without_a_claim(self, journal: Journal, other: Journal, run: int) -> None:
        """What is left of a dead supervisor's run reports what it has undone while a successor has the claim."""
        journal.commit(run, undo=[record(1), record(2)])
        other.update_undo(run, [UndoUpdate(2, UndoState.UNDONE, 1, 5.0), UndoUpdate(99, UndoState.UNDONE, 1, 5.0)])
        assert [each.number for each in journal.undo_records(run, outstanding=True)] == [1]

    def test_each_run_has_its_own_numbers(self, journal: Journal, run: int) -> None:
        second = journal.claim(journal.create_run("r2", agent=None).id).id
        journal.commit(run, undo=[record(1, "a")])
        journal.commit(second, undo=[record(1, "b")])
        journal.update_undo(second, [UndoUpdate(1, UndoState.KEPT, 0, 5.0)])
        assert [each.command.argv for each in journal.undo_records(run, outstanding=True)] == [["a"]]
        assert journal.last_undo(run) == journal.last_undo(second) == 1

    def test_records_are_removed_with_their_run(self, open_journal: OpenJournal) -> None:
        with open_journal() as journal:
            run = journal.claim(journal.create_run("r", agent=None).id)
            journal.commit(run.id, undo=[record(1)])
            journal.release(run.id)
            journal.remove_run(journal.get_run("r"))
            assert journal.undo_records(run.id) == []
