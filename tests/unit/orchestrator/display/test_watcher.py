"""The progress of a program's run: a callback, lines, and what both do when something is wrong."""

from __future__ import annotations

import threading

import pytest

from orchestrator import Progress, Supervisor
from orchestrator.display import choice, watcher
from orchestrator.testing import FakeBackend
from runtime import ExecutionState, UsageError
from tests.support.recorded_log import RecordedLog

HELD = threading.Event()


def work(number: int, state: ExecutionState) -> int:
    state.progress(number, 10)
    while not HELD.is_set():
        state.sleep(0.001)
    if number == 1:
        raise ValueError("one")
    return number


@pytest.fixture(autouse=True)
def held() -> None:
    HELD.clear()


def supervisor(log: RecordedLog, **options: object) -> Supervisor:
    return Supervisor(workers=2, backend=FakeBackend(), log=log, handle_signals=False, **options)  # type: ignore[arg-type]


def test_a_callback_gets_the_progress_again_and_again_and_the_last_one_at_the_end() -> None:
    seen: list[Progress] = []

    def is_second_shown(progress: Progress) -> bool:
        return any(task.done == 1 for executor in progress.executors for task in executor.tasks)

    def note(progress: Progress) -> None:
        seen.append(progress)
        if is_second_shown(progress):
            HELD.set()

    with supervisor(RecordedLog(), progress=note, progress_interval=0.01) as running:
        assert len(list(running.map(work, range(5)))) == 5
    shown = next(filter(is_second_shown, seen))
    assert (shown.total, shown.is_total_known, shown.in_flight) == (5, True, 2)
    assert sorted(task.key for executor in shown.executors for task in executor.tasks) == ["1", "2"]
    assert (seen[-1].done, seen[-1].failed, seen[-1].in_flight) == (5, 1, 0)


def test_a_callback_that_raises_is_reported_and_not_called_again() -> None:
    log, calls = RecordedLog(), []

    def fail(progress: Progress) -> None:
        calls.append(progress)
        HELD.set()
        raise RuntimeError("no display")

    with supervisor(log, progress=fail, progress_interval=0.01) as running:
        assert len(list(running.map(work, range(5)))) == 5
    assert len(calls) == 1
    assert log.named("run.progress_failed") == [{"error": "RuntimeError: no display"}]


def test_without_a_terminal_lines_and_failed_tasks_go_to_the_program_s_log(monkeypatch: pytest.MonkeyPatch) -> None:
    log = RecordedLog()
    monkeypatch.setattr(choice, "is_live", lambda _: False)
    monkeypatch.setattr(watcher, "is_live", lambda _: False)
    with supervisor(log, progress=True, progress_interval=0.01) as running:
        handles = [running.submit(work, number) for number in range(5)]
        log.wait_for("run.progress")
        HELD.set()
        assert [handle.outcome().ok for handle in handles] == [True, False, True, True, True]
    assert log.named("run.progress")[0]["total"] <= 5
    assert [fields["key"] for fields in log.named("task.failed")] == ["2"]


def test_the_progress_can_be_asked_for() -> None:
    with supervisor(RecordedLog()) as running:
        handle = running.submit(work, 3, key="k")
        assert running.progress.total in (0, 1)
        HELD.set()
        assert handle.result() == 3
    assert running.progress.done == 1


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_what_is_neither_a_switch_nor_a_callable_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"progress = .*: give True, False, or a callable"):
        supervisor(RecordedLog(), progress=value)
