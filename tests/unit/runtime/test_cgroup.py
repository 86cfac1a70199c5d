"""A run's cgroup, on folders that stand in for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.backends import predecessor
from orchestrator.journal import Owner
from runtime import cgroup
from runtime.cgroup import Leaf


def test_what_was_made_in_it_goes_with_it(tmp_path: Path) -> None:
    """A run inside of the run, whose guardian was killed, has left one."""
    leaf = Leaf(tmp_path / "quiesce-r")
    (leaf.path / "quiesce-inner" / "deeper").mkdir(parents=True)
    assert leaf.remove()
    assert not leaf.path.exists()


def test_one_with_something_in_it_stays(tmp_path: Path) -> None:
    (tmp_path / "quiesce-r").mkdir()
    (tmp_path / "quiesce-r" / "file").touch()
    assert not Leaf(tmp_path / "quiesce-r").remove()


def test_a_predecessors_is_found_and_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs may be called `r` and `r-7`."""
    monkeypatch.setattr(cgroup, "_own_cgroup", lambda: tmp_path)
    monkeypatch.setattr(cgroup, "_SYSTEMD", tmp_path / "none")
    for name in ("quiesce-r-7-abc123", "quiesce-r-7-8-abc", "quiesce-r-8-abc123", "quiesce-r-7-0ff", "quiesce-r-7"):
        (tmp_path / name).mkdir()
    found = predecessor.Predecessor("r", Owner(7, "elsewhere"), "7-0ff")._leaves()
    assert [leaf.path.name for leaf in found] == ["quiesce-r-7-abc123"]
