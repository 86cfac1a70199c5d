"""The audit agent by itself: results, snapshots, interrupts, events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import audit
from auditlib import pipeline, sources
from runtime import ExecutionInterrupted, ExecutionState
from runtime.interrupts.supervisor_link import Standalone
from runtime.model import Event

MODULE = 'import os\n\n\ndef f(a=[]):\n    """Doc."""\n    return g(a)\n\n\ndef g(a):\n    return f(a)\n'


class Recorder(Standalone):
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


def test_result_has_no_machine_in_it(
    task: dict[str, str], state_of: Callable[..., CountedState], tmp_path: Path
) -> None:
    """A result names the module, is JSON, and knows no absolute path."""
    result = audit.audit(task, state_of())
    assert (result["module"], result["readable"]) == ("pkg.mod", True)
    assert str(tmp_path) not in json.dumps(result)


def test_findings_and_progress_are_told_at_once(task: dict[str, str], state_of: Callable[..., CountedState]) -> None:
    """Notable findings and every stage's end are events."""
    host = Recorder()
    audit.audit(task, state_of(host=host))
    findings = [event.data for event in host.events if event.kind == "finding"]
    assert [(one["what"], one["file"], one["line"]) for one in findings] == [("mutable-default", "pkg/mod.py", 4)]
    assert [event.data["done"] for event in host.events if event.kind == "progress"] == [1, 2, 3, 4, 5, 6, 7]


def test_unreadable_file_is_a_finding(tmp_path: Path, state_of: Callable[..., CountedState]) -> None:
    """A file with bad syntax has a result."""
    path = tmp_path / "bad.py"
    path.write_text("def f(:\n", "utf-8")
    result = audit.audit({"key": "bad.py", "path": str(path)}, state_of())
    assert (result["readable"], [one["kind"] for one in result["findings"]]) == (False, ["unreadable"])


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
        kept.add(len(snapshot["parts"]) if snapshot else 0)
        second = state_of(snapshot=snapshot)
        assert audit.audit(task, second) == want
        assert second.looks <= whole.looks
    assert kept == set(range(len(pipeline.STAGES)))


def test_a_snapshot_of_another_version_is_dropped(task: dict[str, str], state_of: Callable[..., CountedState]) -> None:
    """What was found in a file as it was before an edit is worth nothing after it."""
    want = audit.audit(task, state_of())
    stale = {"version": "0", "parts": {"text": {"findings": [], "lines": {}}}}
    assert audit.audit(task, state_of(snapshot=stale)) == want


def test_inputs_are_sorted_and_skip_what_is_installed(tmp_path: Path) -> None:
    """The same inputs every time: sources, not packages from elsewhere, not hidden folders."""
    for name in ("b.py", "a/c.py", "a/__pycache__/d.py", "site-packages/e.py", ".hidden/f.py", "a/g.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert [one["key"] for one in sources.inputs(tmp_path)] == ["a/c.py", "b.py"]
    assert sources.top_level(tmp_path) == {"a", "b", ".hidden"}


def test_a_package_keeps_its_name(tmp_path: Path) -> None:
    """Audited alone, a package's files are named as they are imported."""
    for name in ("a/__init__.py", "a/b/__init__.py", "a/b/c.py", "d.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert [one["key"] for one in sources.inputs(tmp_path / "a" / "b")] == ["a/b/__init__.py", "a/b/c.py"]


def test_the_standard_library_is_large_enough() -> None:
    """The default inputs are a code base worth the name."""
    assert sum(1 for _ in sources.inputs(sources.standard_library())) > 600  # 1,500 with its tests
