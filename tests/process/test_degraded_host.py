"""A host without what Linux has (macOS, an odd sandbox): less is found, and nothing crashes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support import procs
from tests.support.cli import run_cli, start_cli
from tests.support.sync import AnnouncementPipe

POORER = """
import ctypes, os, signal
for name in ("memfd_create", "pipe2", "pidfd_open", "eventfd"):
    if hasattr(os, name):
        delattr(os, name)
if hasattr(signal, "pidfd_send_signal"):
    del signal.pidfd_send_signal

class NoLibrary:
    def __init__(self, *_, **__):
        raise OSError("no C library here")

ctypes.CDLL = NoLibrary
"""


@pytest.fixture
def poorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every Python that is started from here on lacks memfd, pipe2, pidfd and prctl."""
    folder = tmp_path / "poorer"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(POORER)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).resolve().parents[2]}")
    return folder


@pytest.mark.skipif(sys.platform == "darwin", reason="it is such a host")
def test_a_run_completes_and_says_what_it_has_to_do_without(tmp_path: Path, poorer: Path) -> None:
    source, journal = jsonl(tmp_path / "in.jsonl", range(20)), tmp_path / "j.db"
    done = run_cli("run", agent("plain:double"), "-i", source, "-j", journal, "-w", "2", "--keep-children")
    assert done.returncode == 0, done
    seen = look(journal)
    assert len(seen.values) == 20
    (started,) = seen.named("guardian.started")
    assert started["containment"] == ["limits", "sessions", "environment"]


@pytest.mark.skipif(sys.platform == "darwin", reason="it is such a host")
def test_it_stops_and_leaves_nothing(tmp_path: Path, poorer: Path) -> None:
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"key": "a", "post": post.path}])
        words = ("run", agent("plain:wait"), "-i", source, "-j", tmp_path / "j.db", "-w", "1", "--run-id", "poor-host")
        with start_cli(*words) as running:
            post.expect()
            running.send(signal.SIGTERM)
            done = running.wait(15)
    assert done.returncode == -signal.SIGTERM, done
    assert procs.processes_of_run("poor-host") == []
    assert look(tmp_path / "j.db").statuses() == {"a": "interrupted"}
