"""`--arg` and `--config`: checked against the agent, kept with the run, part of its identity."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from runtime.errors import UsageError
from tests.process.agents import arguments
from tests.process.helpers import agent, jsonl, look, runs_in
from tests.support.cli import Completed, run_cli


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "in.jsonl", [1])


def quiet(*_: Any) -> None:
    """A log that is not looked at."""


def run(tmp_path: Path, source: Path, name: str, *words: str) -> Completed:
    return run_cli("run", agent(f"arguments:{name}"), "-i", source, "-w", "1", "-j", tmp_path / "j.db", *words)


def refused(done: Completed) -> str:
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("quiesce: ")
    return line


def test_arguments_reach_the_agent_and_its_lifespan(tmp_path: Path, source: Path) -> None:
    (tmp_path / "args.toml").write_text('model = "large"\nthreshold = 0.25\n')
    words = ("--config", str(tmp_path / "args.toml"), "--arg", "threshold=0.75", "--arg", "path=/tmp/x")
    done = run(tmp_path, source, "plain", *words)
    assert done.returncode == 0, done
    seen = look(tmp_path / "j.db")
    assert seen.values == {"1": ["large", 0.75, "PosixPath", "large model"]}
    assert seen.record.agent["args"] == {"model": "large", "threshold": 0.75, "path": "/tmp/x"}


def test_a_settings_model_takes_its_fields_by_name(tmp_path: Path, source: Path) -> None:
    words = ("--arg", "model=5", "--arg", 'database={"port": 1}')
    done = run(tmp_path, source, "configured", *words)
    assert done.returncode == 0, done
    expected = {"model": "5", "threshold": 0.5, "database": {"host": "localhost", "port": 1}}
    assert look(tmp_path / "j.db").values == {"1": expected}


@pytest.mark.parametrize(
    ("name", "words", "line"),
    [
        ("plain", ["--arg", "treshold=1"], "plain has no argument 'treshold'; did you mean threshold?"),
        ("plain", ["--arg", "zzz=1"], "plain has no argument 'zzz'; it has model, path, threshold"),
        (
            "plain",
            ["--arg", "threshold=high"],
            "plain: the argument threshold = 'high': Input should be a valid number",
        ),
        ("plain", ["--arg", "threshold"], "--arg threshold: give NAME=VALUE"),
        ("plain", ["--config", "no.toml"], "--config no.toml: No such file"),
        ("plain", ["--config", "no.yaml"], "--config no.yaml: its name must end in .json or .toml"),
        ("required", [], "required needs the argument level: give --arg level=VALUE"),
        ("configured", [], "configured: the argument settings.model: Field required"),
        (
            "configured",
            ["--arg", "model=x", "--arg", "threshold=2"],
            "the argument settings.threshold = 2: Input should",
        ),
        ("configured", ["--arg", "modell=x"], "configured has no argument 'modell'; did you mean model?"),
    ],
)
def test_wrong_arguments_are_one_line_and_no_run(
    tmp_path: Path, source: Path, name: str, words: list[str], line: str
) -> None:
    assert line in refused(run(tmp_path, source, name, *words))
    assert runs_in(tmp_path / "j.db") == 0


def test_a_resumed_run_keeps_its_arguments_and_refuses_others(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1, 2, 3])
    words = ("--run-id", "r", "--arg", "factor=10")
    done = run(tmp_path, source, "stops_at_three", *words)
    assert done.returncode == 75, done
    at = ("-j", tmp_path / "j.db")
    line = refused(run_cli("resume", "r", *at, "--arg", "factor=11"))
    assert "run r was begun with the argument factor 10, and it is 11 now" in line
    line = refused(run(tmp_path, source, "stops_at_three", "--run-id", "r", "--or-resume"))
    assert "run r was begun with the argument factor 10, and it is not given now" in line
    done = run_cli("resume", "r", *at, "--arg", "factor=10")
    assert done.returncode == 0, done
    assert look(tmp_path / "j.db").values == {"1": 10, "2": 20, "3": 30}


def test_a_program_binds_arguments_with_partial() -> None:
    settings = arguments.Settings(model="x", threshold=1)
    with Supervisor(workers=1, log=quiet) as supervisor:
        (outcome,) = supervisor.map(partial(arguments.plain, model="large"), [1])
        assert outcome.value == ["large", 0.5, None, "large model"]
        (other,) = supervisor.map(partial(arguments.configured, settings=settings), [1])
        assert other.value["threshold"] == 1
        unknown: Any = {"modle": "large"}
        with pytest.raises(UsageError, match="plain has no argument 'modle'; did you mean model"):
            supervisor.map(partial(arguments.plain, **unknown), [1])
