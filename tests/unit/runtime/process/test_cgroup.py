"""A run's cgroup, on folders that stand in for one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orchestrator.backends import previous_supervisor
from orchestrator.backends.run_token import RunToken
from orchestrator.journal import SupervisorRecord
from runtime.process import cgroup
from runtime.process.cgroup import RunCgroup
from runtime.process.run_mark import is_mark


def test_what_was_made_in_it_goes_with_it(tmp_path: Path) -> None:
    """A run inside of the run, whose guardian was killed, has left one."""
    leaf = RunCgroup(tmp_path / "quiesce-r")
    (leaf.path / "quiesce-inner" / "deeper").mkdir(parents=True)
    assert leaf.remove()
    assert not leaf.path.exists()


def test_one_with_something_in_it_stays(tmp_path: Path) -> None:
    (tmp_path / "quiesce-r").mkdir()
    (tmp_path / "quiesce-r" / "file").touch()
    assert not RunCgroup(tmp_path / "quiesce-r").remove()


def test_a_predecessors_is_found_and_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs may be called `r` and `r-7`, and two supervisors of one pid may have had one of each."""
    monkeypatch.setattr(cgroup, "_own_cgroup", lambda: tmp_path)
    monkeypatch.setattr(cgroup, "_SYSTEMD", tmp_path / "none")
    names = [RunToken(token).leaf_name(run) for run in ("r", "r-7") for token in ("7-0ff", "7-abc123")]
    assert len(set(names)) == 4
    for name in names:
        (tmp_path / name).mkdir()
    dead = previous_supervisor.PreviousSupervisor("r", SupervisorRecord("7-0ff", 7, socket.gethostname()))
    dead.wait_and_clean_up(lambda *_: None, lambda: None, 1.0, keep_children=False)
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])


def test_what_everybody_sees_does_not_tell_the_token() -> None:
    token = RunToken.make()
    secret = token.value.partition("-")[2]
    assert secret not in token.leaf_name("r")
    assert is_mark(token.mark)
    assert f"{token.mark:x}" not in secret
    assert RunToken("").mark == 0
