"""`open_run`: tasks, outcomes and events of a journal, lazily, and its clear errors. Executors are threads."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

import orchestrator.run_reader
from orchestrator import RunReader, Supervisor, failed_inputs, open_run, results_with_retries
from orchestrator.journal import open_journal
from orchestrator.testing import FakeBackend
from runtime.errors import DecodeError, ExecutionInterrupted, UsageError
from runtime.model import ExecutionStatus
from tests.support.recorded_log import PATIENCE, RecordedLog
from tests.support.wait import wait_until

BEGAN, RETRYING = threading.Event(), threading.Event()


def work(task_input: Any, state: Any) -> Any:
    if task_input == "fail":
        raise ValueError("no")
    if task_input == "wait":
        BEGAN.set()
        state.sleep(3600)
    return {task_input} if isinstance(task_input, tuple) else task_input


def supervisor(journal: Path, run_id: str = "r1", **options: Any) -> Supervisor:
    return Supervisor(
        workers=1,
        journal=journal,
        run_id=run_id,
        log=RecordedLog(),
        handle_signals=False,
        backend=FakeBackend(),
        **options,
    )


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A run of four tasks, of which one has failed, one was interrupted, and one value is no JSON."""
    path = tmp_path / "runs.db"
    BEGAN.clear()
    with pytest.raises(ExecutionInterrupted), supervisor(path) as running:
        list(running.map(work, [{"n": 1}, "fail", (1, 2)], keys=["a", "b", "c"]))
        running.submit(work, "wait", key="d", priority=3)
        assert BEGAN.wait(PATIENCE)
        running.interrupt(message="enough")
        running.submit(work, "never", key="e").result(PATIENCE)
    return path


def test_the_run(journal: Path) -> None:
    run = open_run(journal)
    assert (run.run_id, run.path, run.status, run.is_alive) == ("r1", str(journal), ExecutionStatus.INTERRUPTED, False)
    assert run.signal is not None
    assert run.signal.message == "enough"
    assert (run.counts.completed, run.counts.failed, run.counts.interrupted) == (2, 1, 1)
    assert run.settings["grace"] == 10
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.created_at <= run.started_at <= run.ended_at
    assert repr(run) == f"<RunReader run_id='r1' path={str(journal)!r}>"


def test_tasks_come_in_order_with_their_outcomes(journal: Path) -> None:
    tasks = list(open_run(journal, "r1").tasks())
    assert [(task.key, task.index, str(task.status)) for task in tasks[:4]] == [
        ("a", 0, "completed"), ("b", 1, "failed"), ("c", 2, "completed"), ("d", 3, "interrupted"),
    ]  # fmt: skip
    assert [task.input for task in tasks[:4]] == [{"n": 1}, "fail", (1, 2), "wait"]
    assert [task.attempts for task in tasks[:3]] == [1, 1, 1]
    assert tasks[3].priority == 3
    assert tasks[0].outcome is not None
    assert tasks[0].outcome.value == {"n": 1}
    assert all(task.outcome is None and task.status is ExecutionStatus.AWAITING for task in tasks[4:])
    assert repr(tasks[1]) == "<RunTask key='b' index=1 failed>"


def test_outcomes_have_value_error_attempts_times_and_input(journal: Path) -> None:
    outcomes = {outcome.key: outcome for outcome in open_run(journal).outcomes()}
    assert list(outcomes) == ["a", "b", "c", "d"]
    assert [outcomes[key].index for key in outcomes] == [0, 1, 2, 3]
    assert (outcomes["c"].value, outcomes["c"].input, outcomes["c"].exact) == ({(1, 2)}, (1, 2), False)
    assert [outcomes[key].projected for key in "abc"] == [{"n": 1}, None, [[1, 2]]]
    assert outcomes["b"].error == "ValueError: no"
    assert "ValueError" in (outcomes["b"].detail or "")
    for outcome in outcomes.values():
        assert outcome.started_at is not None
        assert outcome.ended_at is not None
        assert outcome.started_at <= outcome.ended_at


@pytest.mark.parametrize(
    ("status", "keys"),
    [("failed", ["b"]), (ExecutionStatus.COMPLETED, ["a", "c"]), (["failed", ExecutionStatus.INTERRUPTED], ["b", "d"])],
)
def test_tasks_and_outcomes_of_some_statuses(journal: Path, status: Any, keys: list[str]) -> None:
    run = open_run(journal)
    assert [task.key for task in run.tasks(status)] == keys
    assert [outcome.key for outcome in run.outcomes(status)] == keys


def test_one_outcome_by_its_key(journal: Path) -> None:
    run = open_run(journal)
    statuses = {key: outcome.status for key in "abcd" if (outcome := run.outcome(key)) is not None}
    assert list(map(str, statuses.values())) == ["completed", "failed", "completed", "interrupted"]
    with pytest.raises(KeyError, match="no task with the key 'zzz'"):
        run.outcome("zzz")


def test_events_from_a_number_on_and_of_some_kinds(journal: Path) -> None:
    run = open_run(journal)
    events = list(run.events())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert list(run.events(3)) == events[2:]
    assert [event.kind for event in run.events(kind="task.failed")] == ["task.failed"]
    completed = [msgspec.json.decode(event.data)["key"] for event in run.events(kind=["task.completed"])]
    assert completed == ["a", "c"]
    with pytest.raises(ValueError, match="from_seq must be"):
        run.events(0)


def test_iterating_is_lazy_and_needs_no_end(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def open_and_note(*given: Any) -> Any:
        opened.append(open_journal(*given))
        return opened[-1]

    run = open_run(journal)
    monkeypatch.setattr(orchestrator.run_reader, "open_journal", open_and_note)
    tasks = run.tasks()
    assert opened == [], "nothing is read before the first is asked for"
    assert next(tasks).key == "a"
    tasks.close()  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="closed"):
        opened[0].runs()


def test_more_outcomes_than_are_looked_up_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrator.run_reader, "LOOKED_UP", 7)
    with supervisor(tmp_path / "j.db") as running:
        list(running.map(work, range(50)))
    run = open_run(tmp_path / "j.db")
    assert [(outcome.index, outcome.input, outcome.value) for outcome in run.outcomes()] == [
        (n, n, n) for n in range(50)
    ]
    assert [task.input for task in run.tasks("completed")] == list(range(50))


def test_a_living_run_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    BEGAN.clear()
    with supervisor(path) as running:
        assert running.submit(work, 1, key="a").result(PATIENCE) == 1
        handle = running.submit(work, "wait", key="b")
        assert BEGAN.wait(PATIENCE)
        run = open_run(path)
        assert (run.status, run.is_alive, run.ended_at) == (ExecutionStatus.STARTED, True, None)
        assert [str(task.status) for task in run.tasks()] == ["completed", "awaiting"]
        assert run.outcome("b") is None
        handle.cancel()
        wait_until(lambda: run.outcome("b") is not None, what="its outcome is in the journal")
    assert not run.is_alive


@pytest.mark.parametrize(
    ("name", "run_id", "words"),
    [
        ("nothing.db", None, "there is no journal at"),
        ("text.db", None, "is not a journal"),
        ("runs.db", "r9", "there is no run r9 in"),
        (".", None, "it is a directory"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(journal: Path, name: str, run_id: str | None, words: str) -> None:
    (journal.parent / "text.db").write_text("this is text" * 1000)
    with pytest.raises(UsageError, match=words) as error:
        open_run(journal.parent / name, run_id)
    assert "\n" not in str(error.value)


def test_a_prefix_names_a_run_and_no_id_the_latest(tmp_path: Path) -> None:
    for run_id in ("first-1", "second-2"):
        with supervisor(tmp_path / "j.db", run_id) as running:
            running.submit(work, 1).result(PATIENCE)
    assert open_run(tmp_path / "j.db").run_id == "second-2"
    assert open_run(tmp_path / "j.db", "first").run_id == "first-1"


@pytest.mark.parametrize("status", ["finished", ["failed", "started"]])
def test_a_status_that_no_task_has_is_refused_at_once(journal: Path, status: Any) -> None:
    run = open_run(journal)
    for read in (run.tasks, run.outcomes):
        with pytest.raises(UsageError, match="give awaiting, completed, failed, interrupted"):
            read(status)


def test_an_input_that_cannot_be_read_here_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with supervisor(tmp_path / "j.db") as running:
        running.submit(work, Mine()).result(PATIENCE)
    monkeypatch.delattr(sys.modules[__name__], "Mine")
    (task,) = open_run(tmp_path / "j.db").tasks()
    assert task.outcome is not None
    for what in (task, task.outcome):
        with pytest.raises(DecodeError, match="the input of task 1 cannot be read here"):
            _ = what.input


class Mine:
    """A value by the name of its class."""


def test_a_data_frame(journal: Path) -> None:
    pytest.importorskip("pandas")
    frame: Any = open_run(journal).to_pandas()
    assert list(frame.columns) == [
        "key", "status", "attempts", "input", "value", "error", "started_at", "ended_at", "seconds",
    ]  # fmt: skip
    assert frame.index.name == "index"
    assert list(frame.key[:4]) == ["a", "b", "c", "d"]
    assert list(frame.status[:3]) == ["completed", "failed", "completed"]
    assert frame.value[0] == {"n": 1}
    assert frame.value[2] == {(1, 2)}
    assert frame.error[1] == "ValueError: no"
    assert str(frame.started_at.dtype).endswith("UTC]")
    assert (frame.seconds[:3] >= 0).all()
    assert (frame.started_at[:3] <= frame.ended_at[:3]).all()


def test_an_empty_run_is_an_empty_data_frame(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    with supervisor(tmp_path / "j.db") as running:
        list(running.map(work, []))
    assert len(open_run(tmp_path / "j.db").to_pandas()) == 0


def test_without_pandas_one_line_says_what_to_install(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'quiesce\[pandas\]'"):
        open_run(journal).to_pandas()


def test_a_reader_is_a_value_that_any_thread_may_use(journal: Path) -> None:
    run: RunReader = open_run(journal)
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(list(run.outcomes())))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [4] * 4


def fails_once(task_input: int, _state: Any) -> int:
    if task_input % 2 and not RETRYING.is_set():
        raise ValueError("odd")
    return 10 * task_input


def test_outcomes_with_retries_are_at_their_places_of_the_first_input(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    RETRYING.clear()
    with supervisor(path, "first") as running:
        list(running.map(fails_once, range(5), keys="abcde"))
    RETRYING.set()
    failed = failed_inputs(path, "first")
    with supervisor(path, "again", retry_of="first") as running:
        list(running.map(fails_once, failed.values(), keys=failed.keys()))
    run = open_run(path, "first")
    expected = [(0, "a", 0, 0), (1, "b", 1, 10), (2, "c", 2, 20), (3, "d", 3, 30), (4, "e", 4, 40)]
    for outcomes in (run.outcomes(with_retries=True), results_with_retries(path, "first")):
        assert [(outcome.index, outcome.key, outcome.input, outcome.value) for outcome in outcomes] == expected
    assert [outcome.key for outcome in run.outcomes("failed")] == ["b", "d"]
    assert list(run.outcomes("failed", with_retries=True)) == []
