"""Runs: which supervisor has them, how they are found, how they end; and what others ask of them."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from orchestrator.core.progress import ExecutorProgress, Progress, TaskProgress
from orchestrator.core.progress_report import ProgressReport, encode
from orchestrator.core.records import NewTask, TaskSnapshot
from orchestrator.journal import ClaimedError, DuplicateKeyError, Journal, JournalError
from runtime.errors import UsageError
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal
from tests.support.journal_conformance.stores import OpenJournal, StoreFixtures
from tests.support.journal_records import COMPLETED, FAILED, INTERRUPTED, add, event, outcome, seqs

STOP = InterruptSignal(reason=InterruptReason.PRIORITY_OVERRIDE, message="make room", triggered_by="ops")

PROGRESS = Progress(
    done=0, total=9, is_total_known=True, failed=0, retried=0, interrupted=0, in_flight=3, rate=0.5, eta=14.0,
    executors=(ExecutorProgress(1, 11, (TaskProgress("k", 1.5, 4, 10),), 3),),
)  # fmt: skip


def resumable(journal: Journal) -> str | None:
    """Return the id of the run that can be resumed."""
    record = journal.latest_resumable()
    return None if record is None else record.run_id


def is_claimed(journal: Journal, run_id: str) -> bool:
    owner = journal.get_run(run_id).owner
    return owner is not None and owner.alive


class RunConformance(StoreFixtures):
    # -- removal and labels --------------------------------------------------------------------------------

    def test_labels_come_back(self, journal: Journal, other: Journal) -> None:
        run = journal.create_run("r", agent=None).id
        assert journal.get_run("r").labels == {}
        journal.label_run(run, {"team": "a b=c", "é": "\u202e"})
        assert other.get_run("r").labels == {"team": "a b=c", "é": "\u202e"}
        journal.label_run(run, {})
        assert other.get_run("r").labels == {}

    def test_a_run_is_removed_with_all_that_it_has(self, journal: Journal, other: Journal) -> None:
        """Its neighbour keeps everything, and its id is free again."""
        for name in ("gone", "kept"):
            run = journal.claim(journal.create_run(name, agent=None).id, token=name).id
            add(journal, run, *"abc")
            journal.seal(run)
            journal.add_agents(run, {0: "m:f"})
            ended = [outcome(1), outcome(2, FAILED), outcome(3, INTERRUPTED)]
            journal.commit(run, outcomes=ended, events=[event("x"), event("y")], snapshots=[TaskSnapshot(3, b"[1]")])
            journal.finish_run(run, INTERRUPTED, STOP)
            journal.release(run)
        gone, kept = other.runs()
        before = (seqs(other.results(kept.id)), seqs(other.events(kept.id)), other.counts(kept.id))
        assert other.used_size(gone.id) == other.used_size(kept.id) > 0
        other.remove_run(gone)
        assert [run.run_id for run in journal.runs()] == ["kept"]
        assert other.used_size(gone.id) == 0
        assert (seqs(other.results(kept.id)), seqs(other.events(kept.id)), other.counts(kept.id)) == before
        again = journal.create_run("gone", agent=None).id
        assert journal.last_seq(again) == 0
        assert list(journal.results(again)) == []
        journal.vacuum()
        assert seqs(other.results(kept.id)) == before[0]

    def test_a_run_that_is_executed_is_not_removed(self, journal: Journal, run: int, other: Journal) -> None:
        add(journal, run, "a")
        record = other.get_run("r1")
        with pytest.raises(ClaimedError, match="is being executed"):
            other.remove_run(record)
        journal.commit(run, outcomes=[outcome(1)])
        journal.finish_run(run, COMPLETED)
        journal.release(run)
        with pytest.raises(UsageError, match="has changed meanwhile"):
            other.remove_run(record)
        other.remove_run(other.get_run("r1"))
        assert journal.runs() == []

    def test_what_is_removed_makes_room(self, journal: Journal) -> None:
        empty = journal.used_size()
        run = journal.create_run("r", agent=None)
        journal.add_tasks(run.id, [NewTask(str(n), b'"%s"' % (b"x" * 1000)) for n in range(5000)])
        full = journal.used_size()
        assert full > empty + 5_000_000
        assert 5_000_000 < journal.used_size(run.id) < full
        journal.remove_run(run)
        assert journal.used_size() < empty + 100_000

    # -- records -------------------------------------------------------------------------------------------

    def test_a_run_comes_back_as_it_was_created(self, journal: Journal, other: Journal) -> None:
        """Specification, settings and place are the supervisor's business; the journal keeps them."""
        made = journal.create_run("r", agent={"source": "m:f"}, config={"workers": 2, "limits": [1, None]}, cwd="/srv")
        assert journal.get_run("r") == made
        assert other.get_run("r") == made
        assert (made.agent, made.config, made.cwd) == ({"source": "m:f"}, {"workers": 2, "limits": [1, None]}, "/srv")
        assert made.status is ExecutionStatus.AWAITING
        assert (made.sealed, made.starts, made.owner, made.signal) == (False, 0, None, None)
        with pytest.raises(UsageError, match="there is a run r already"):
            journal.create_run("r", agent=None)

    def test_a_run_knows_the_one_that_it_retries(self, journal: Journal, other: Journal) -> None:
        parent = journal.create_run("r", agent=None)
        child = journal.create_run("child", agent=None, parent=parent.id)
        with journal.draft("draft", agent=None, parent=child.id):
            pass
        assert [run.parent for run in other.runs()] == [None, parent.id, child.id]
        journal.create_run("other", agent=None)
        assert [run.run_id for run in other.retries(parent.id)] == ["child", "draft"]
        assert [run.run_id for run in other.retries(child.id)] == ["draft"]
        assert other.retries(child.id + 2) == []

    def test_a_run_is_found_by_id_prefix_or_as_the_latest(self, journal: Journal) -> None:
        """An exact id wins over the runs that it begins; a wildcard is only a character."""
        with pytest.raises(UsageError, match="there is no run at all"):
            journal.get_run()
        for name in ("audit", "audit-2", "bench%"):
            journal.create_run(name, agent=None)
        assert journal.get_run("audit").run_id == "audit"
        assert journal.get_run("audit-").run_id == "audit-2"
        assert journal.get_run("bench%").run_id == "bench%"
        assert journal.get_run().run_id == "bench%"
        assert [run.run_id for run in journal.runs()] == ["audit", "audit-2", "bench%"]
        with pytest.raises(UsageError, match=r"2 runs .* begin with 'a': audit, audit-2"):
            journal.get_run("a")
        with pytest.raises(UsageError, match="there is no run %"):
            journal.get_run("%")

    def test_what_can_be_resumed_is_the_latest_that_is_not_over(self, journal: Journal) -> None:
        """A run without a supervisor goes before one that is being executed."""
        assert resumable(journal) is None
        first, second, third = (journal.create_run(name, agent=None).id for name in "abc")
        journal.finish_run(third, COMPLETED)
        journal.finish_run(second, INTERRUPTED, STOP)
        assert resumable(journal) == "b"
        journal.claim(second)
        assert resumable(journal) == "a"
        journal.claim(first)
        assert resumable(journal) == "b"
        journal.finish_run(first, FAILED)
        journal.finish_run(second, FAILED)
        assert resumable(journal) is None

    def test_text_that_is_not_unicode_is_refused_by_name(self, journal: Journal) -> None:
        """Such as bytes on a command line that are not UTF-8."""
        with pytest.raises(UsageError, match=r"'r\\udcff' is not valid text"):
            journal.create_run("r\udcff", agent=None)
        with pytest.raises(UsageError, match="is not valid text"):
            journal.get_run("\udcff")
        assert journal.create_run("r", agent=None, cwd="/\udcff").cwd == "/\\udcff"

    # -- drafts --------------------------------------------------------------------------------------------

    def test_a_draft_is_invisible_until_its_block_ends(self, journal: Journal, other: Journal) -> None:
        """Other processes can write between its transactions, and its id is taken."""
        with journal.draft("r", agent="m:f", config=1, cwd="/srv") as draft:
            add(journal, draft.id, "a")
            assert other.runs() == []
            assert other.latest_resumable() is None
            with pytest.raises(UsageError, match="there is no run r"):
                other.get_run("r")
            with pytest.raises(ClaimedError) as caught:
                other.create_run("r", agent=None)
            assert caught.value.pid == os.getpid()
            other.create_run("another", agent=None)
            add(journal, draft.id, "b")
            journal.seal(draft.id)
        record = other.get_run("r")
        assert (record.id, record.agent, record.config, record.cwd) == (draft.id, "m:f", 1, "/srv")
        assert (record.status, record.sealed, record.owner) == (ExecutionStatus.AWAITING, True, None)
        assert [task.key for task in other.pending(record.id)] == ["a", "b"]
        assert other.claim(record.id).starts == 1

    def test_a_draft_that_is_refused_leaves_nothing(self, journal: Journal, other: Journal) -> None:
        """The id is free at once after an error of ours."""
        with pytest.raises(DuplicateKeyError), journal.draft("r", agent=None) as draft:
            add(journal, draft.id, "a", "b")
            add(journal, draft.id, "a")
        assert other.runs() == []
        again = other.create_run("r", agent=None).id
        assert other.counts(again).total == 0

    def test_a_draft_that_fails_in_another_way_is_dropped_by_the_next_one(
        self, journal: Journal, other: Journal
    ) -> None:
        with pytest.raises(ZeroDivisionError), journal.draft("r", agent=None) as draft:
            add(journal, draft.id, "a")
            raise ZeroDivisionError
        assert journal.runs() == other.runs() == []
        with other.draft("r", agent=None) as draft:
            add(other, draft.id, "b")
        assert [task.key for task in journal.pending(draft.id)] == ["b"]

    # -- claims --------------------------------------------------------------------------------------------

    def test_a_claim_starts_the_run_and_each_one_counts(self, journal: Journal, run: int) -> None:
        """The first start is remembered; an interruption is forgotten when the run goes on."""
        first = journal.get_run("r1")
        assert (first.status, first.starts) == (ExecutionStatus.STARTED, 1)
        assert first.owner is not None
        assert (first.owner.pid, first.owner.alive) == (os.getpid(), True)
        interrupted = journal.finish_run(run, INTERRUPTED, STOP)
        assert (interrupted.signal, interrupted.ended) == (STOP, False)
        assert interrupted.ended_at is not None
        journal.release(run)
        owner = journal.get_run("r1").owner
        assert owner is not None
        assert not owner.alive
        again = journal.claim(run)
        assert (again.status, again.starts, again.signal, again.ended_at) == (ExecutionStatus.STARTED, 2, None, None)
        assert again.started_at == first.started_at

    def test_two_handles_of_one_process_exclude_each_other(
        self, journal: Journal, run: int, open_journal: OpenJournal
    ) -> None:
        """Closing one handle must not release what the other one has claimed."""
        with open_journal() as other:
            with pytest.raises(ClaimedError, match=f"run r1 is being executed by process {os.getpid()}") as caught:
                other.claim(run)
            assert caught.value.pid == os.getpid()
            assert caught.value.run_id == "r1"
            other.claim(other.create_run("r2", agent=None).id)
        with open_journal() as third:
            assert third.get_run("r1").owner == journal.get_run("r1").owner
            third.claim(third.get_run("r2").id)
            journal.release(run)
            third.claim(run)

    def test_a_claim_that_is_refused_changes_nothing(self, journal: Journal, run: int, other: Journal) -> None:
        before = journal.get_run("r1")
        with pytest.raises(ClaimedError):
            other.claim(run, "9-z")
        assert other.get_run("r1") == before
        assert other.other_supervisors(run, "") == []
        other.release(run)
        assert is_claimed(other, "r1")

    def test_a_claim_in_a_transaction_that_fails_changes_nothing(self, journal: Journal) -> None:
        run = journal.create_run("r", agent=None).id
        journal.finish_run(run, INTERRUPTED, STOP)
        before = journal.get_run("r")
        with pytest.raises(ZeroDivisionError), journal.transaction():
            journal.claim(run, "1-a")
            raise ZeroDivisionError
        journal.release(run)
        assert journal.get_run("r") == before
        assert journal.other_supervisors(run, "") == []
        assert journal.claim(run).starts == before.starts + 1

    def test_closing_twice_and_releasing_nothing_are_harmless(
        self, journal: Journal, run: int, open_journal: OpenJournal
    ) -> None:
        """Clean-up code may run in any order. Closing releases every claim, and keeps what was committed."""
        second = journal.claim(journal.create_run("r2", agent=None).id).id
        add(journal, second, "a")
        location = journal.location
        journal.release(run)
        journal.release(run)
        journal.close()
        journal.close()
        journal.release(run)
        with open_journal("read") as again:
            assert again.location == location
            assert not is_claimed(again, "r2")
            assert again.counts(second).pending == 1
        with open_journal("write") as again:
            assert again.claim(second).starts == 2

    def test_a_reader_sees_a_writer_and_writes_nothing(
        self, journal: Journal, run: int, open_journal: OpenJournal
    ) -> None:
        add(journal, run, "a")
        with open_journal("read") as reader:
            version = reader.data_version()
            assert is_claimed(reader, "r1")
            assert seqs(reader.pending(run)) == [1]
            with pytest.raises(JournalError, match="read-only"):
                add(reader, run, "b")
            journal.commit(run, outcomes=[outcome(1)], events=[event("e")])
            assert reader.data_version() != version
            assert reader.counts(run).completed == 1
        assert is_claimed(journal, "r1")
        assert journal.counts(run).total == 1

    # -- ends ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("status", [COMPLETED, FAILED])
    def test_a_run_that_is_over_stays_so(self, journal: Journal, run: int, status: ExecutionStatus) -> None:
        """A late SIGTERM does not turn completed into interrupted, nor does a look by resume."""
        ended = journal.finish_run(run, status)
        assert journal.finish_run(run, INTERRUPTED, STOP) == ended
        journal.release(run)
        again = journal.claim(run)
        assert (again.status, again.ended_at, again.ended) == (status, ended.ended_at, True)

    def test_the_last_events_of_a_run_are_recorded_with_its_end(
        self, journal: Journal, run: int, other: Journal
    ) -> None:
        journal.commit(run, events=[event("task.ended")])
        ended = journal.finish_run(run, COMPLETED, events=[event("run.stopping"), event("run.finished")])
        assert ended.ended
        assert other.get_run("r1") == ended
        assert [(each.seq, each.kind) for each in other.events(run, 2)] == [(2, "run.stopping"), (3, "run.finished")]
        assert journal.last_event(run) == 3

    def test_a_supervisor_is_known_until_its_processes_are_gone(self, journal: Journal) -> None:
        """Whether it was the last one or one before: each is removed by itself."""
        run = journal.create_run("r", agent=None).id
        for token in ("1-a", "2-b", "3-c"):
            journal.claim(run, token)
            journal.release(run)
        assert [other.token for other in journal.other_supervisors(run, "3-c")] == ["1-a", "2-b"]
        assert {other.pid for other in journal.other_supervisors(run, "")} == {os.getpid()}
        journal.finish_run(run, INTERRUPTED, STOP, token="2-b")
        journal.remove_supervisor(run, "1-a")
        journal.remove_supervisor(run, "1-a")
        assert [other.token for other in journal.other_supervisors(run, "")] == ["3-c"]
        assert journal.other_supervisors(journal.create_run("another", agent=None).id, "") == []

    # -- progress ------------------------------------------------------------------------------------------

    def test_the_last_report_of_a_run_s_progress_is_kept_until_it_ends(
        self, journal: Journal, run: int, other: Journal
    ) -> None:
        """And not for the next supervisor, which has not reported anything."""
        assert other.progress(run) is None
        progress = replace(PROGRESS, done=2)
        journal.report_progress(run, encode(101.0, PROGRESS))
        journal.report_progress(run, encode(102.0, progress))
        assert other.progress(run) == ProgressReport(102.0, progress)
        assert other.progress(journal.create_run("another", agent=None).id) is None
        journal.release(run)
        journal.claim(run)
        assert other.progress(run) is None
        journal.report_progress(run, encode(103.0, progress))
        journal.finish_run(run, INTERRUPTED, STOP)
        assert other.progress(run) is None

    # -- requests from outside -----------------------------------------------------------------------------

    def test_a_request_reaches_the_living_supervisor_once(self, journal: Journal, run: int, other: Journal) -> None:
        """It shows in data_version, is taken once, and names the task by key and seq."""
        add(journal, run, "a", "b")
        before = journal.data_version()
        assert journal.take_requests(run) == []
        owner = other.add_request(run, STOP)
        assert owner is not None
        assert owner.pid == os.getpid()
        assert other.add_request(run, STOP, "b") is not None
        with pytest.raises(UsageError, match="has no task with the key 'zz'"):
            other.add_request(run, STOP, "zz")
        assert journal.data_version() != before
        first, second = journal.take_requests(run)
        assert (first.signal, first.task, first.key) == (STOP, None, None)
        assert (second.task, second.key) == (2, "b")
        assert journal.take_requests(run) == []

    def test_a_request_to_no_supervisor_is_not_kept(self, journal: Journal, run: int) -> None:
        """The next supervisor must not be stopped by what was meant for the last one."""
        assert journal.add_request(run, STOP) is not None
        journal.release(run)
        assert journal.add_request(run, STOP) is None
        journal.claim(run)
        assert journal.take_requests(run) == []

    def test_the_own_commits_do_not_show_in_data_version(self, journal: Journal, run: int) -> None:
        """So a supervisor can poll it and look for requests only when another connection wrote."""
        before = journal.data_version()
        add(journal, run, "a")
        assert journal.data_version() == before
