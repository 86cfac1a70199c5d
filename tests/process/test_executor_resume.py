"""The same calls, made again by the next start of a program: results come out of the journal, the rest is executed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import open_run
from orchestrator.futures import SupervisedExecutor
from orchestrator.identity import RunMismatchError
from runtime.errors import UsageError
from tests.process.agents.pool_program import note
from tests.support.cli import ROOT, Running
from tests.support.eof import ExitDetector
from tests.support.wait import wait_until

WAIT = 60.0


def start(name: str, path: Path, count: int) -> Running:
    command = [sys.executable, "-m", "tests.process.agents.pool_program", name, str(path), str(count)]
    return Running(command, cwd=ROOT)


def outcomes(path: Path, run_id: str) -> int:
    counts = open_run(f"{path}.db", run_id).counts
    return counts.completed + counts.failed


@pytest.mark.parametrize(("name", "run_id"), [("content", "the-run"), ("function", "calls-pool_program")])
def test_a_program_that_was_killed_gets_its_results_at_its_next_start(name: str, run_id: str, tmp_path: Path) -> None:
    """By kill -9. What had completed is not executed again; what failed, waited or ran is."""
    path = tmp_path / "notes"
    with ExitDetector() as proof:
        Path(f"{path}.held").symlink_to(proof.path)
        with start(name, path, 5) as running:
            proof.wait_until_held(1, WAIT)
            wait_until(lambda: outcomes(path, run_id) == 3, WAIT, "three outcomes are committed")
            running.send(signal.SIGKILL)
            running.wait(WAIT)
        proof.wait(WAIT)
    assert path.read_text().split() == ["0", "2"]
    for flag in ("again", "mended"):
        Path(f"{path}.{flag}").write_text("")
    values = [(value, "as it was") for value in range(7)]
    for _ in range(2):  # the second start has nothing left to do; both make more calls than the first
        with start(name, path, 7) as running:
            ended = running.wait(WAIT)
        assert ended.stdout == f"{run_id} {values}\n", ended
        assert sorted(path.read_text().split()) == ["0", "1", "2", "3", "4", "5", "6"]
    run = open_run(f"{path}.db", run_id)
    assert run.counts.completed == 7
    assert run.counts.failed == 1, "an outcome never changes: the failed call was made again under a key of its own"


def test_calls_that_are_alike_are_calls_of_their_own(tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    for _ in range(2):
        with SupervisedExecutor(1, journal=tmp_path / "runs.db", key="alike") as executor:
            assert list(executor.map(note, [path] * 3, [1, 1, 2])) == [1, 1, 2]
    assert Path(path).read_text().split() == ["1", "1", "2"]


def test_chunks_are_resumed_as_they_are(tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    for _ in range(2):
        with SupervisedExecutor(1, journal=tmp_path / "runs.db", key="chunks") as executor:
            assert list(executor.map(note, [path] * 5, range(5), chunksize=2)) == [0, 1, 2, 3, 4]
    assert Path(path).read_text().split() == ["0", "1", "2", "3", "4"]


def test_a_key_of_the_programs_own_names_one_call_for_ever(tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    options: dict[str, Any] = {"journal": tmp_path / "runs.db", "run_id": "named"}
    with SupervisedExecutor(1, key=lambda _, value: "the same", **options) as executor:
        assert executor.submit(note, path, 1).result(WAIT) == 1
    with SupervisedExecutor(1, key=lambda _, value: "the same", **options) as executor:
        with pytest.raises(RunMismatchError, match="is not the one that it was begun with"):
            executor.submit(note, path, 2)
        assert executor.submit(note, path, 3).result(WAIT) == 3  # "the same" for the second time: another name
    assert Path(path).read_text().split() == ["1", "3"]


def test_what_cannot_be_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="key is for a journal: give journal=PATH, too"):
        SupervisedExecutor(1, key="a")
    with pytest.raises(UsageError, match="key = 3: give the id of the run, or a function"):
        SupervisedExecutor(1, key=3, journal=tmp_path / "runs.db")  # type: ignore[arg-type]
    executor = SupervisedExecutor(1, key=lambda value: value, journal=tmp_path / "runs.db")
    with executor, pytest.raises(UsageError, match="it must return a string"):
        executor.submit(abs, -1)
