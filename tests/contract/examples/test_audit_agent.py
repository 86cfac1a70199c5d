"""The audit agent by itself: results, snapshots, interrupts, events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import audit
from auditlib.stages import STAGES
from runtime import ExecutionInterrupted, ExecutionState
from runtime.interrupts.supervisor_link import NullLink
from runtime.model import Event

MODULE = 'import os\n\n\ndef f(a=[]):\n    """Doc."""\n    return g(a)\n\n\ndef g(a):\n    return f(a)\n'


class Recorder(NullLink):
    """A host that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


class CountedState(ExecutionState):
    """A state that is interrupted at its n-th checkpoint."""

    def __init__(self, stop_at: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.looks = 0
        self.stop_at = stop_at

    def raise_if_interrupted(self) -> None:
        self.looks += 1
        if self.looks == self.stop_at:
            self.request_interrupt()
        super().raise_if_interrupted()


@pytest.fixture
def task(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "pkg" / "mod.py"
    path.parent.mkdir()
    path.write_text(MODULE, "utf-8")
    return {"key": "pkg/mod.py", "path": str(path)}


@pytest.fixture
def state_of() -> Iterator[Callable[..., CountedState]]:
    made: list[CountedState] = []

    def make(**options: Any) -> CountedState:
        made.append(CountedState(**options))
        return made[-1]

    yield make
    for state in made:
        state.close()


def test_the_result_depends_on_the_file_alone(
    task: dict[str, str], state_of: Callable[..., CountedState], tmp_path: Path
) -> None:
    """A result is JSON, has the results of all stages, and knows no absolute path."""
    result = audit.audit(task, state_of())
    assert list(result) == list(STAGES)
    assert str(tmp_path) not in json.dumps(result)


def test_findings_and_progress_are_reported_at_once(
    task: dict[str, str], state_of: Callable[..., CountedState]
) -> None:
    """Each finding, and the end of each stage, is an event."""
    link = Recorder()
    audit.audit(task, state_of(host=link))
    findings = [event.data for event in link.events if event.kind == "finding"]
    assert [(found["kind"], found["file"], found["line"]) for found in findings] == [
        ("unused-import", "pkg/mod.py", 1),
        ("mutable-default", "pkg/mod.py", 4),
    ]
    assert [event.data["done"] for event in link.events if event.kind == "progress"] == [1, 2, 3]


def test_an_unreadable_file_has_a_result(tmp_path: Path, state_of: Callable[..., CountedState]) -> None:
    """Bad syntax is a result, not a failed task."""
    path = tmp_path / "bad.py"
    path.write_text("def f(:\n", "utf-8")
    assert audit.audit({"key": "bad.py", "path": str(path)}, state_of()) == {"unreadable": "line 1: invalid syntax"}


def test_interrupted_anywhere_it_gives_the_same_result(
    task: dict[str, str], state_of: Callable[..., CountedState], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at every single checkpoint, it resumes from its snapshot, and the result is equal."""
    monkeypatch.setattr(audit, "LARGE", 0)
    whole = state_of()
    want = audit.audit(task, whole)
    kept = set()
    for stop_at in range(1, whole.looks + 1):
        first = state_of(stop_at=stop_at)
        with pytest.raises(ExecutionInterrupted):
            audit.audit(task, first)
        snapshot = json.loads(json.dumps(first.snapshot))
        kept.add(len(snapshot["results"]) if snapshot else 0)
        second = state_of(snapshot=snapshot)
        assert audit.audit(task, second) == want
        assert second.looks <= whole.looks
    assert kept == set(range(len(STAGES)))


def test_a_snapshot_of_another_version_is_dropped(task: dict[str, str], state_of: Callable[..., CountedState]) -> None:
    """What was found in a file as it was before an edit is worth nothing after it."""
    want = audit.audit(task, state_of())
    stale = {"version": "0", "results": {"size": {"findings": [], "lines": 0}}}
    assert audit.audit(task, state_of(snapshot=stale)) == want
