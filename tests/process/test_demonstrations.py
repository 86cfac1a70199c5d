"""The demonstrations of the examples: stopped by a signal, they end by it; started again, they continue to the end."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.support.cli import ROOT, Running

AUDIT: tuple[str | Path, ...] = (sys.executable, ROOT / "examples" / "audit.py", "demo")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Some files that take a second or two to audit."""
    folder = tmp_path / "sources"
    folder.mkdir()
    text = "def f(a=[]):\n    if a: return [b for b in a]\n" * 1_000
    for number in range(60):
        (folder / f"module_{number:02}.py").write_text(text)
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_audit_is_stopped_and_continues(sources: Path, tmp_path: Path, number: signal.Signals) -> None:
    """The signal for the demonstration reaches quiesce; the second start resumes the run and prints the report."""
    command: list[str | Path] = [*AUDIT, sources, "--folder", tmp_path / "audit"]
    with Running(command) as stopped:
        stopped.expect("executor.started")
        stopped.send_group(number) if number == signal.SIGINT else stopped.send(number)
        ended = stopped.wait()
    assert ended.signal == number, ended
    with Running(command) as continued:
        finished = continued.wait()
    assert finished.returncode == 0, finished
    assert "$ quiesce resume audit" in finished.stderr
    assert "mutable-default" in finished.stdout
    assert " 60 completed" in finished.stderr


def test_the_questions_are_stopped_and_continue(tmp_path: Path) -> None:
    """The server sees no answer that was stored by halves, and ends with the demonstration."""
    options = ("demo", "--folder", tmp_path / "llm", "--questions", "40", "--workers", "2")
    command: list[str | Path] = [sys.executable, ROOT / "examples" / "llm.py", *options]
    with Running(command) as stopped:
        stopped.expect("executor.started")
        stopped.send(signal.SIGTERM)
        ended = stopped.wait()
    assert ended.signal == signal.SIGTERM, ended
    assert " 0 half stored" in ended.stderr
    with Running(command, timeout=50) as continued:
        finished = continued.wait()
    assert finished.returncode == 0, finished
    assert " 0 half stored" in finished.stderr
