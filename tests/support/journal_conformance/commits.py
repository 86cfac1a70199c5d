"""What happened is committed as one, and a terminal outcome never changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.output import KeptLine, OutputChunk
from orchestrator.core.records import TERMINAL, NewTask, RunEvent, TaskOutcome, TaskSnapshot
from orchestrator.journal import Counts, Journal
from orchestrator.journal.base import INVALID
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal, Severity
from tests.support.examples import scaled
from tests.support.journal_conformance.stores import NewStore, OpenJournal, StoreFixtures
from tests.support.journal_records import COMPLETED, FAILED, INTERRUPTED, add, event, found, outcome, seqs

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
_COMMITS = st.lists(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([COMPLETED, FAILED, INTERRUPTED])), max_size=5), max_size=6
)


def _replace(outcome: TaskOutcome, seq: int, key: str) -> TaskOutcome:
    fields = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
    return TaskOutcome(**{**fields, "seq": seq, "key": key})


class CommitConformance(StoreFixtures):
    # -- outcomes ------------------------------------------------------------------------------------------

    # each example makes a store of its own; each kind of journal is another executor
    @settings(max_examples=scaled(20), suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
    @given(outcomes=st.lists(_OUTCOME, min_size=1, max_size=8))
    def test_outcomes_come_back_as_they_went_in(self, journals: NewStore, outcomes: list[TaskOutcome]) -> None:
        """Every field, in the order of the input, with the key that the task has."""
        given_ = [_replace(each, seq, f"k{seq}") for seq, each in enumerate(outcomes, 1)]
        with journals()() as journal:
            run = journal.claim(journal.create_run("r", agent=None).id).id
            add(journal, run, *(each.key for each in given_))
            assert journal.commit(run, outcomes=list(reversed(given_))).accepted == list(reversed(given_))
            assert list(journal.results(run)) == given_

    @settings(max_examples=scaled(20), suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
    @given(commits=_COMMITS)
    def test_the_first_terminal_outcome_wins(
        self, journals: NewStore, commits: list[list[tuple[int, ExecutionStatus]]]
    ) -> None:
        """Against a model: whatever comes in whatever batches, terminal stays, interrupted is replaced."""
        model: dict[int, tuple[int, str, bytes | None]] = {}
        done: set[int] = set()
        with journals()() as journal:
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
            assert seqs(journal.events(run)) == list(range(1, number + 1))

    def test_a_late_outcome_does_not_take_others_down_with_it(self, journal: Journal, run: int) -> None:
        """What stands beside it in the batch is committed, its events too."""
        add(journal, run, *"abc")
        journal.commit(run, outcomes=[outcome(1)], events=[event("one")])
        late, good = outcome(1, FAILED, None), outcome(2)
        done = journal.commit(
            run, outcomes=[late, good, outcome(3, INTERRUPTED)], events=[event("two"), event("three")]
        )
        assert seqs(done.accepted) == [2, 3]
        assert done.events == range(2, 4)
        assert found(journal, run) == [(1, "completed", b"1"), (2, "completed", b"1"), (3, "interrupted", b"1")]

    def test_the_next_supervisor_cannot_change_a_terminal_outcome(
        self, journal: Journal, run: int, other: Journal
    ) -> None:
        add(journal, run, "a", "b")
        journal.commit(run, outcomes=[outcome(1), outcome(2, INTERRUPTED)])
        journal.release(run)
        other.claim(run)
        done = other.commit(run, outcomes=[outcome(1, FAILED, b"2"), outcome(2, FAILED, b"2")])
        assert seqs(done.accepted) == [2]
        assert found(journal, run) == [(1, "completed", b"1"), (2, "failed", b"2")]

    def test_counts_are_by_status_and_add_up(self, journal: Journal, run: int) -> None:
        """Pending ones have no outcome at all."""
        assert journal.counts(run) == Counts()
        add(journal, run, *"abcdef")
        journal.commit(run, outcomes=[outcome(1), outcome(2), outcome(3, FAILED), outcome(4, INTERRUPTED)])
        counts = journal.counts(run)
        assert counts == Counts(pending=2, completed=2, failed=1, interrupted=1)
        assert counts.total == 6

    def test_results_can_be_of_some_statuses_only(self, journal: Journal, run: int) -> None:
        """Nothing is filtered when nothing is asked for."""
        add(journal, run, *"abc")
        journal.commit(run, outcomes=[outcome(1), outcome(2, FAILED), outcome(3, INTERRUPTED)])
        assert seqs(journal.results(run, [FAILED, INTERRUPTED])) == [2, 3]
        assert seqs(journal.results(run, [])) == []
        assert seqs(journal.results(run)) == [1, 2, 3]

    def test_results_can_be_of_some_tasks_only(self, journal: Journal, run: int) -> None:
        add(journal, run, *"abcde")
        journal.commit(run, outcomes=[outcome(1), outcome(2, FAILED), outcome(4, INTERRUPTED), outcome(5)])
        assert seqs(journal.results(run, seqs=[5, 1, 3, 4, 99])) == [1, 4, 5]
        assert seqs(journal.results(run, [FAILED], [1, 2])) == [2]
        assert seqs(journal.results(run, seqs=[])) == []

    def test_tasks_that_have_ended_are_those_that_never_change(self, journal: Journal, run: int) -> None:
        add(journal, run, *"abcde")
        assert journal.ended_tasks(run) == []
        journal.commit(run, outcomes=[outcome(5), outcome(2, FAILED), outcome(4, INTERRUPTED), outcome(1)])
        assert journal.ended_tasks(run) == [1, 2, 5]
        assert journal.ended_tasks(run, 2) == [5]
        assert journal.ended_tasks(run, 5) == []

    def test_long_results_and_events_always_advance(self, journal: Journal, run: int) -> None:
        """Each once, in order, however the pages fall, also when one row is larger than a page."""
        journal.add_tasks(run, [NewTask(str(n), b"0") for n in range(1, 701)])
        values = [b'"%s"' % (b"x" * (300 if n % 100 else 5000)) for n in range(1, 701)]
        outcomes = [outcome(n, value=value) for n, value in enumerate(values, 1)]
        events = [RunEvent(kind=f"e{n}", at=1.5, data=value) for n, value in enumerate(values)]
        journal.commit(run, outcomes=outcomes, events=events)
        assert seqs(journal.results(run)) == list(range(1, 701))
        assert seqs(journal.events(run)) == list(range(1, 701))
        assert seqs(journal.events(run, 650, 3)) == [650, 651, 652]
        assert seqs(journal.events(run, 700)) == [700]
        assert seqs(journal.events(run, 701)) == []
        assert seqs(journal.events(run, limit=0)) == []

    def test_a_slow_reader_is_not_in_the_way_of_commits(self, journal: Journal, run: int, other: Journal) -> None:
        """It holds no transaction open between two pages, neither on this handle nor on another one."""
        journal.add_tasks(run, [NewTask(str(n), b"0") for n in range(1, 701)])
        journal.commit(run, outcomes=[outcome(n) for n in range(1, 701)], events=[event("e")] * 700)
        readers = [each.results(run) for each in (journal, other)] + [each.events(run) for each in (journal, other)]
        assert seqs(next(reader) for reader in readers) == [1] * 4
        assert journal.commit(run, events=[event("late")]).events == range(701, 702)
        for reader in readers:
            assert seqs(reader)[:699] == list(range(2, 701))

    # -- events --------------------------------------------------------------------------------------------

    def test_events_are_numbered_without_gaps(self, journal: Journal, run: int, open_journal: OpenJournal) -> None:
        """Across statements, commits, NULs and restarts, and in each run on its own."""
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
        assert journal.last_event(run) == 20
        journal.close()
        with open_journal() as again:
            again.claim(run)
            assert again.last_event(run) == 20
            assert again.commit(run, events=given_[20:]).events == range(21, 31)
            other = again.claim(again.create_run("r2", agent=None).id).id
            assert again.commit(other, events=given_[:1]).events == range(1, 2)
            assert [(each.seq, each.kind, each.data, each.at) for each in again.events(run)] == [
                (n, each.kind, each.data, each.at) for n, each in enumerate(given_, 1)
            ]
            assert {(each.address, each.slot, each.task == each.seq) for each in again.events(run)} == {
                ("a::b", 1, True)
            }

    # -- commits -------------------------------------------------------------------------------------------

    def test_a_commit_shows_as_one(self, journal: Journal, run: int, other: Journal) -> None:
        """Outcomes, snapshots, attempts and events, to another handle too; an empty commit is none."""
        add(journal, run, *"abc")
        nothing = journal.commit(run)
        assert (list(nothing.accepted), nothing.events) == ([], range(1, 1))
        version = other.data_version()
        done = journal.commit(
            run,
            outcomes=[outcome(1)],
            snapshots=[TaskSnapshot(2, b'"half"')],
            events=[event("e")],
            attempts={2: 1},
        )
        assert (seqs(done.accepted), done.events) == ([1], range(1, 2))
        assert other.data_version() != version
        assert found(other, run) == [(1, "completed", b"1")]
        assert [(task.key, task.attempts, task.snapshot) for task in other.pending(run)] == [
            ("b", 1, b'"half"'),
            ("c", 0, None),
        ]
        assert [each.kind for each in other.events(run)] == ["e"]

    def test_text_that_has_no_utf8_is_kept_readable(self, journal: Journal, run: int) -> None:
        """An error message with a lone surrogate (a file name, say) does not break the batch."""
        add(journal, run, "a")
        bad = TaskOutcome(seq=1, key="a", status=FAILED, attempts=1, error="no file \udcff", detail="\ud800")
        journal.commit(run, outcomes=[bad], events=[RunEvent(kind="k\udcff", at=1.0)])
        (result,) = journal.results(run)
        assert result.error == "no file \\udcff"

    def test_a_value_that_is_not_what_it_claims_to_be_is_kept_as_bytes(self, journal: Journal, run: int) -> None:
        """The supervisor never opens values, so it must bear anything."""
        add(journal, run, *"ab")
        journal.commit(run, outcomes=[outcome(1, value=b"\xff\xfe"), outcome(2, value=b"{oops")])
        first, second = journal.results(run)
        assert (first.encoded, first.encoding) == (b"\xff\xfe", INVALID)
        assert (second.encoded, second.encoding) == (b"{oops", "json")

    def test_a_commit_needs_a_claim_and_its_own_transaction(self, journal: Journal, run: int, other: Journal) -> None:
        """Otherwise numbers could clash, or what was reported would not be durable."""
        with journal.transaction(), pytest.raises(RuntimeError):
            journal.commit(run, events=[event("e")])
        with pytest.raises(RuntimeError):
            other.commit(run, events=[event("e")])
        journal.release(run)
        with pytest.raises(RuntimeError):
            journal.commit(run, events=[event("e")])

    # -- output --------------------------------------------------------------------------------------------

    def test_output_comes_back_in_the_order_of_the_commits(self, journals: NewStore) -> None:
        """Of a run, or of one task of it, from any chunk on; a text may have anything in it."""
        with journals()() as journal:
            run = journal.claim(journal.create_run("r", agent=None).id).id
            first = _chunk(1, "one\0\udcff\u2028", "two")
            journal.commit(run, output=[first, _chunk(2, "other")])
            journal.commit(run, output=[_chunk(1, "three", keep=10_000)])
            found = list(journal.output(run))
            assert [(chunk.task, [line.text for line in chunk.lines]) for chunk in found] == [
                (1, ["one\0\\udcff\u2028", "two"]),
                (2, ["other"]),
                (1, ["three"]),
            ]
            assert found[0].lines[1] == first.lines[1]
            assert [chunk.lines[0].text for chunk in journal.output(run, task=2)] == ["other"]
            assert [chunk.lines[0].text for chunk in journal.output(run, found[0].seq)] == ["other", "three"]

    def test_older_output_of_a_task_is_dropped(self, journals: NewStore) -> None:
        """But for what may stay, and never that of another one."""
        with journals()() as journal:
            run = journal.claim(journal.create_run("r", agent=None).id).id
            journal.commit(run, output=[_chunk(2, "other")])
            for number in range(20):
                journal.commit(run, output=[_chunk(1, f"line {number}", keep=100)])
            left = [chunk.lines[0].text for chunk in journal.output(run, task=1)]
            assert left == ["line 17", "line 18", "line 19"]
            assert [chunk.lines[0].text for chunk in journal.output(run, task=2)] == ["other"]


def _chunk(task: int, *texts: str, keep: int | None = None) -> OutputChunk:
    lines = [KeptLine(1.5, "stderr", text, Severity.ERROR, "a.b") for text in texts]
    return OutputChunk(task=task, lines=lines, slot=3, keep=keep)
