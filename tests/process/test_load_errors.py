"""An agent that cannot be imported: one line with the frames of the user's files, the whole traceback on request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import Supervisor
from orchestrator.remote_exceptions import RemoteTraceback
from runtime.errors import UsageError
from tests.process.helpers import jsonl
from tests.support.cli import Completed, run_cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An agent whose helper fails in the standard library."""
    (tmp_path / "agents.py").write_text("from helper import settings\n\ndef work(x, state):\n    return settings\n")
    (tmp_path / "helper.py").write_text('import json\n\ndef read():\n    return json.loads("{")\n\nsettings = read()\n')
    jsonl(tmp_path / "in.jsonl", [1])
    return tmp_path


def run(folder: Path, *options: str) -> Completed:
    done = run_cli("run", "agents.py:work", "-i", "in.jsonl", "-w", "1", *options, cwd=folder)
    assert done.returncode == 2, done
    return done


def test_the_line_has_the_frames_of_the_user_s_files(folder: Path) -> None:
    (line,) = run(folder).stderr.splitlines()
    assert line.startswith("quiesce: cannot load "), line
    assert line.endswith(f"({folder}/agents.py:1, {folder}/helper.py:6, {folder}/helper.py:4 in read)"), line
    assert "JSONDecodeError: Expecting property name" in line


def test_the_whole_traceback_is_shown_on_request(folder: Path) -> None:
    lines = run(folder, "--log-level", "debug").stderr.splitlines()
    assert "Traceback (most recent call last):" in lines
    assert any("json/decoder.py" in line for line in lines), lines
    assert lines[-1].startswith("quiesce: cannot load ")
    written = run(folder, "--log-level", "debug", "--log-format", "json").stderr.splitlines()
    (logged,) = [json.loads(line) for line in written if '"agent.load_failed"' in line]
    assert "json/decoder.py" in logged["traceback"]


class Unreadable:
    """An agent that cannot be unpickled."""

    def __call__(self, x: int, state: object) -> int:
        return x

    def __reduce__(self) -> tuple[object, ...]:
        return fail, ()


def fail() -> None:
    raise LookupError("not in an executor")


def test_in_python_the_traceback_is_the_cause() -> None:
    with (
        Supervisor(workers=1, log=lambda *_: None) as supervisor,
        pytest.raises(UsageError, match="LookupError: not in an executor") as caught,
    ):
        supervisor.submit(Unreadable(), 1)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in fail" in str(caught.value.__cause__)
