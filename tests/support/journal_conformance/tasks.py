"""Tasks go in, each key once, and come out in order: as they were, and only those that are not done."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.records import NewTask, PendingTask, StoredTask, TaskSnapshot
from orchestrator.journal import DuplicateKeyError, Journal
from orchestrator.journal.base import INVALID
from runtime.errors import UsageError
from tests.support.examples import scaled
from tests.support.journal_conformance.stores import NewStore, OpenJournal, StoreFixtures
from tests.support.journal_records import FAILED, INTERRUPTED, add, outcome, seqs

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_DATA = st.one_of(
    st.sampled_from([b"null", b'{"a": [1,  2]}', b'"\\u0000 \\ud83d\\ude00"', '"é\u2028"'.encode(), b'{"big": 1e400}']),
    st.binary(max_size=12),
)
_TASK = st.builds(
    NewTask,
    key=_TEXT,
    input=_DATA,
    encoding=st.sampled_from(["json", "dill"]),
    priority=st.integers(-2, 2),
    agent=st.integers(0, 2),
)


def _expected(task: NewTask, seq: int) -> PendingTask:
    encoding = task.encoding
    if encoding == "json":
        try:
            task.input.decode()
        except UnicodeDecodeError:
            encoding = INVALID
    return PendingTask(seq, task.key, task.input, encoding, agent=task.agent, priority=task.priority)


class TaskConformance(StoreFixtures):
    # each example makes a store of its own; each kind of journal is another executor
    @settings(max_examples=scaled(20), suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
    @given(tasks=st.lists(_TASK, min_size=1, max_size=12, unique_by=lambda task: task.key), gap=st.integers(1, 3))
    def test_tasks_come_out_as_they_went_in(self, journals: NewStore, tasks: list[NewTask], gap: int) -> None:
        """Any bytes, any text, blobs, garbage that claims to be JSON; with gaps between the line numbers."""
        numbered = [
            NewTask(task.key, task.input, task.encoding, task.priority, n * gap, task.agent)
            for n, task in enumerate(tasks, 1)
        ]
        with journals()() as journal:
            run = journal.create_run("r", agent=None).id
            assert journal.add_tasks(run, numbered) == (gap, len(tasks) * gap)
            expected = [_expected(task, task.seq) for task in numbered]
            assert journal.pending(run) == expected
            assert journal.keys(run, [task.seq for task in numbered]) == {task.seq: task.key for task in numbered}
            assert list(journal.tasks(run)) == expected

    def test_tasks_named_by_their_line_are_there_by_name(self, journal: Journal, run: int) -> None:
        """A journal may leave out keys that are the numbers; they still are found."""
        tasks = [NewTask(str(n), b'{"n": %d}' % n) for n in range(1, 301)]
        assert journal.add_tasks(run, tasks) == (1, 300)
        assert journal.pending(run, limit=5) == [PendingTask(n, str(n), b'{"n": %d}' % n) for n in range(1, 6)]
        assert journal.last_seq(run) == 300
        with pytest.raises(DuplicateKeyError):
            add(journal, run, "77")

    def test_large_batches_keep_their_order_and_numbers(self, journal: Journal, run: int) -> None:
        """However the journal cuts them into statements."""
        plain = [NewTask(str(n), b'"%s"' % (b"x" * (n % 7 * 50))) for n in range(1, 41)]
        named = [NewTask(f"k{n}", b"%d" % n, "json", 1) for n in range(41, 81)]
        journal.add_tasks(run, plain)
        journal.add_tasks(run, named)
        tasks = journal.pending(run)
        assert [task.seq for task in tasks] == list(range(1, 81))
        assert [(task.key, task.input) for task in tasks] == [(task.key, task.input) for task in plain + named]

    def test_reading_goes_on_behind_a_seq_and_page_by_page(self, journal: Journal, run: int) -> None:
        """The cursor is the last seq that was seen; the end is an empty page."""
        add(journal, run, *"abcdefg")
        assert seqs(journal.pending(run, 0, 3)) == [1, 2, 3]
        assert seqs(journal.pending(run, 3, 3)) == [4, 5, 6]
        assert seqs(journal.pending(run, 6, 3)) == [7]
        assert journal.pending(run, 7, 3) == []

    def test_pages_of_large_tasks_leave_nothing_out(self, journal: Journal, run: int) -> None:
        """A page may be shorter than its limit, and is empty only at the end."""
        journal.add_tasks(run, [NewTask(f"k{n}", b'"%s"' % (b"x" * 500)) for n in range(600)])
        read, after = [], 0
        while page := journal.pending(run, after):
            read += seqs(page)
            after = read[-1]
        assert read == list(range(1, 601))
        assert seqs(journal.tasks(run)) == read

    def test_urgent_tasks_are_those_of_a_priority_above_0(self, journal: Journal, run: int) -> None:
        """In order, behind a seq, page by page, and only while they are not done."""
        priorities = (0, 3, -1, 1, 9, 2)
        journal.add_tasks(run, [NewTask(f"k{n}", b"1", priority=n) for n in priorities])
        assert seqs(journal.pending(run, urgent=True)) == [2, 4, 5, 6]
        assert [task.priority for task in journal.pending(run)] == list(priorities)
        journal.commit(run, outcomes=[outcome(4), outcome(5, INTERRUPTED)])
        assert seqs(journal.pending(run, 0, 2, urgent=True)) == [2, 5]
        assert seqs(journal.pending(run, 5, 2, urgent=True)) == [6]
        assert journal.pending(run, 6, urgent=True) == []

    def test_terminal_tasks_are_not_pending_and_interrupted_ones_are(self, journal: Journal, run: int) -> None:
        """Resume is a read of what is pending; all tasks are still listed."""
        add(journal, run, *"abcd")
        journal.commit(run, outcomes=[outcome(1), outcome(2, FAILED), outcome(3, INTERRUPTED)], attempts={3: 2, 4: 1})
        assert [(task.key, task.attempts) for task in journal.pending(run)] == [("c", 2), ("d", 1)]
        assert [task.key for task in journal.tasks(run)] == list("abcd")

    def test_a_snapshot_is_handed_out_until_its_task_is_done(
        self, journal: Journal, run: int, open_journal: OpenJournal
    ) -> None:
        """JSON or blob, the latest one, also after a restart."""
        add(journal, run, *"abc")
        journal.commit(
            run, snapshots=[TaskSnapshot(1, b"1"), TaskSnapshot(1, b'{"at": 2}'), TaskSnapshot(2, b"\x80", "dill")]
        )
        expected = [(b'{"at": 2}', "json"), (b"\x80", "dill"), (None, "")]
        assert [(task.snapshot, task.snapshot_encoding) for task in journal.pending(run)] == expected
        journal.close()
        with open_journal() as again:
            again.claim(run)
            again.commit(run, outcomes=[outcome(1), outcome(2, INTERRUPTED)])
            assert [task.snapshot for task in again.pending(run)] == [b"\x80", None]

    def test_tasks_are_looked_up_by_key_with_their_terminal_outcome(self, journal: Journal, run: int) -> None:
        """A key that no task has is left out, and so is the outcome of an interrupted task."""
        add(journal, run, "a", "b\0", "c", "d")
        done = [outcome(1, key="a"), outcome(2, FAILED, key="b\0")]
        journal.commit(run, outcomes=[*done, outcome(3, INTERRUPTED, key="c")])
        a, b, c, _ = journal.tasks(run)
        assert journal.look_up(run, ["c", "zz", "b\0", "a", "b"]) == {
            "a": StoredTask(a, done[0]),
            "b\0": StoredTask(b, done[1]),
            "c": StoredTask(c, None),
        }
        assert journal.look_up(run, []) == {}
        assert journal.look_up(journal.create_run("r2", agent=None).id, ["a"]) == {}

    def test_agents_have_identities_in_their_run(self, journal: Journal, run: int, other: Journal) -> None:
        assert journal.agents(run) == {}
        journal.add_agents(run, {0: "m:f"})
        journal.add_agents(run, {1: "m:g", 2: "m:h"})
        assert other.agents(run) == {0: "m:f", 1: "m:g", 2: "m:h"}
        assert other.agents(other.create_run("r2", agent=None).id) == {}

    # -- refused -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("first", "second"),
        [(["a", "b"], ["c", "b"]), (["a"], ["x", "y", "x"]), (["1"], ["z", "1"]), (["a"], ["n\0", "x", "a"])],
    )
    def test_a_duplicate_key_is_named_and_nothing_is_added(
        self, journal: Journal, run: int, first: list[str], second: list[str]
    ) -> None:
        """Within a batch, or across batches: which key, which task, and which one had it before."""
        add(journal, run, *first)
        with pytest.raises(DuplicateKeyError) as caught:
            add(journal, run, *second)
        everything = first + second
        assert caught.value.key == second[-1]
        assert caught.value.seq == len(everything)
        assert everything[caught.value.first - 1] == second[-1]
        assert str(caught.value).count("\n") == 0
        assert journal.counts(run).total == len(first)
        assert journal.add_tasks(run, [NewTask("new", b"1")]) == (len(first) + 1, len(first) + 1)

    def test_the_same_key_in_two_runs_is_no_duplicate(self, journal: Journal, run: int) -> None:
        """Keys are unique inside their run only."""
        other = journal.create_run("r2", agent=None).id
        add(journal, run, "a")
        add(journal, other, "a")
        assert seqs(journal.pending(other)) == [1]

    def test_keys_that_differ_behind_a_nul_are_different(self, journal: Journal, run: int) -> None:
        """A key may hold any text, also where the store's own text does not."""
        add(journal, run, "a\0b", "a\0c", "a", "\0")
        assert [task.key for task in journal.pending(run)] == ["a\0b", "a\0c", "a", "\0"]
        with pytest.raises(DuplicateKeyError):
            add(journal, run, "a\0c")

    def test_what_makes_no_sense_is_refused_in_one_line(self, journal: Journal, run: int) -> None:
        """A seq that does not rise, a key that is not text, a sealed run, a run that is not there."""
        add(journal, run, "a", "b")
        for bad in (NewTask("c", b"1", seq=2), NewTask("\ud800", b"1")):
            with pytest.raises(UsageError):
                journal.add_tasks(run, [bad])
        with pytest.raises(UsageError, match="no run number 99"):
            journal.add_tasks(99, [NewTask("c", b"1")])
        journal.seal(run)
        with pytest.raises(UsageError, match="r1 takes no more tasks"):
            add(journal, run, "c")
        assert journal.counts(run).total == 2

    def test_a_file_is_ingested_whole_or_not_at_all(self, journal: Journal, other: Journal) -> None:
        """An error in line one million leaves no run behind."""
        with pytest.raises(DuplicateKeyError), journal.transaction():
            run = journal.create_run("file", agent=None).id
            add(journal, run, "a", "b")
            add(journal, run, "c", "a")
        assert journal.runs() == []
        with journal.transaction():
            run = journal.create_run("file", agent=None).id
            journal.add_agents(run, {0: "m:f"})
            add(journal, run, "a", "b")
            journal.seal(run)
            assert other.runs() == []
        assert journal.get_run("file").sealed
        assert seqs(journal.pending(run)) == [1, 2]
        assert seqs(other.pending(run)) == [1, 2]

    def test_no_tasks_are_no_tasks(self, journal: Journal, run: int) -> None:
        """An empty batch changes nothing."""
        assert journal.add_tasks(run, []) == (1, 0)
        assert journal.pending(run) == []
        assert journal.last_seq(run) == 0
