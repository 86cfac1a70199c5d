"""The journal's files are cut short while a run goes on: never a success whose results are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.helpers import jsonl, look
from tests.support.cli import run_cli, start_cli
from tests.support.wait import wait_until

AGENT = """
import os

def wait(n, state):
    while not os.path.exists(f"go-{n}"):
        state.sleep(0.02)
    return n * 2
"""


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("last", [False, True])
def test_a_run_whose_journal_is_cut_short_does_not_succeed(tmp_path: Path, suffix: str, last: bool) -> None:
    """In the middle, or when the last outcome is on its way."""
    (tmp_path / "agent.py").write_text(AGENT)
    source, path = jsonl(tmp_path / "in.jsonl", range(1, 5)), tmp_path / "quiesce.db"
    left = 4 if last else 3
    with start_cli("run", "agent.py:wait", "-i", source, "-w", "1", "--grace", "1", cwd=tmp_path) as run:
        for n in range(1, left):
            (tmp_path / f"go-{n}").touch()
        run.expect("executor.started")
        wait_until(lambda: path.exists() and len(look(path).outcomes) == left - 1, what="outcomes")
        path.with_name(path.name + suffix).write_bytes(b"")
        for n in range(left, 5):
            (tmp_path / f"go-{n}").touch()
        ended = run.wait()
    assert ended.returncode == 75, ended
    assert "was cut short underneath this process" in ended.stderr
    assert "Traceback" not in ended.stderr
    for command in ("status", "results"):
        assert "Traceback" not in run_cli(command, cwd=tmp_path).stderr
