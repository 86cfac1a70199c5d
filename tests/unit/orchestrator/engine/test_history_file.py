"""The last stimuli are written into a private file: on request, and when the loop ends by an exception."""

from __future__ import annotations

import queue
import resource
import signal
import stat
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import Settings
from orchestrator.core import history_text, stimuli
from orchestrator.core.history import History
from orchestrator.core.instructions import Instruction
from orchestrator.core.replay import comparable, replay
from orchestrator.engine.history_file import HistoryFile
from runtime.model import ExecutionStatus
from tests.support.fake_run import FakeRun


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def echo(value: str, _state: Any) -> str:
    return value


def test_a_history_on_request_is_where_the_log_says_and_can_be_replayed(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FakeRun({"echo": echo})
    machine, given = run.session._engine.machine, list[list[Instruction]]()
    handle = machine.handle

    def record(stimulus: stimuli.Stimulus, now: float) -> list[Instruction]:
        instructions = handle(stimulus, now)
        if len(machine.history) > len(given):
            given.append(instructions)
        return instructions

    monkeypatch.setattr(machine, "handle", record)
    with run:
        run.add("echo", "a", "b")
        engine = run.session._engine
        engine._history_file.write(lambda *event: engine.post(stimuli.LogRequested(*event)))
        fields = run.log.wait_for("history.written")
        assert run.finish().status is ExecutionStatus.COMPLETED
    path = Path(str(fields["path"]))
    assert path.parent == temporary
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings, history = history_text.load(path.read_text(encoding="utf-8"))
    assert (len(history), history.dropped) == (fields["stimuli"], fields["dropped"])
    assert settings.workers == 1
    replayed = list(map(comparable, replay(settings, history)[1]))
    assert replayed == list(map(comparable, given))[: len(replayed)]
    assert any("SendOrder" in text for step in replayed for text in step)


def test_a_loop_that_ends_by_an_exception_leaves_its_history() -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    with FakeRun({"echo": echo}) as run:
        run.load("echo")
        machine = run.session._engine.machine
        machine._handlers[stimuli.LogRequested] = fail
        run.session._engine.post(stimuli.LogRequested("the.culprit", "info", {}))  # type: ignore[arg-type]
        fields = run.log.wait_for("history.written")
        assert "a defect" in str(run.finish().error)
    *_, last = Path(str(fields["path"])).read_text(encoding="utf-8").splitlines()
    assert "the.culprit" in last


def test_a_directory_that_cannot_be_written_is_one_line(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "missing"))
    with FakeRun({"echo": echo}) as run:
        run.load("echo")
        engine = run.session._engine
        engine._history_file.write(lambda *event: engine.post(stimuli.LogRequested(*event)))
        fields = run.log.wait_for("history.failed")
        assert "cannot be written" in fields["error"]


def test_a_full_disk_leaves_one_line_and_no_file(temporary: Path) -> None:
    history = History()
    history.add(stimuli.TimerFired(), 1.0)
    reports: queue.SimpleQueue[stimuli.LogRequested] = queue.SimpleQueue()
    file = HistoryFile(Settings(workers=1), history)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        file.write(lambda *event: reports.put(stimuli.LogRequested(*event)))
        report = reports.get(timeout=10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert report.name == "history.failed"
    assert "cannot be written" in report.fields["error"]
    assert list(temporary.iterdir()) == []


def test_a_new_file_replaces_the_one_before(temporary: Path) -> None:
    reports: queue.SimpleQueue[stimuli.LogRequested] = queue.SimpleQueue()
    file = HistoryFile(Settings(workers=1), History())
    paths = []
    for _ in range(3):
        file.write(lambda *event: reports.put(stimuli.LogRequested(*event)))
        paths.append(reports.get(timeout=10).fields["path"])
        assert file._thread is not None
        file._thread.join()
    assert list(map(str, temporary.iterdir())) == paths[-1:]


def test_while_the_disk_hangs_no_second_thread_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(history_text, "dump", lambda *_: str(goes_on.wait(10)))
    reports: queue.SimpleQueue[stimuli.LogRequested] = queue.SimpleQueue()
    file = HistoryFile(Settings(workers=1), History())
    file.write(lambda *event: reports.put(stimuli.LogRequested(*event)))
    thread = file._thread
    file.write(lambda *event: reports.put(stimuli.LogRequested(*event)))
    assert file._thread is thread
    goes_on.set()
    assert reports.get(timeout=10).name == "history.written"
    assert thread is not None
    thread.join()
    assert reports.empty()
