"""The printed batch script: bash reads it, each word arrives, and Slurm warns in time."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.core.ladder import Ladder
from orchestrator.integrations.slurm.batch_script import BatchScript, render, warning_seconds
from runtime.errors import UsageError
from tests.support.cli import run_cli

WORDS = ["a b", "$HOME", "`id`", 'q"q', "it's", "é", "line\nbreak", "", "*", "\\", "%a", "x%ay%a"]


def words_of(script: str, tmp_path: Path, task: str = "3") -> list[str]:
    """Run a script whose program is replaced by one that prints its words. Returns those behind the program."""
    echo = tmp_path / "echo"
    echo.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\n')
    echo.chmod(0o755)
    text = re.sub(r"^exec \S+", f"exec {echo}", script, flags=re.MULTILINE)
    environment = {"SLURM_ARRAY_TASK_ID": task, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash"], input=text, capture_output=True, text=True, env=environment, check=True)
    return done.stdout.split("\0")[:-1]


def script(command: Sequence[str], **fields: object) -> str:
    values: dict[str, object] = {"name": "n", "ladder": Ladder(), "workers": 2, "directory": "/d", **fields}
    return render(BatchScript(command=command, **values))  # type: ignore[arg-type]


def test_each_word_arrives(tmp_path: Path) -> None:
    assert words_of(script(["/bin/quiesce", *WORDS]), tmp_path) == WORDS
    in_array = [word.replace("%a", "3") for word in WORDS]
    assert words_of(script(["/bin/quiesce", *WORDS], array="0-9"), tmp_path) == in_array


@pytest.mark.parametrize("word", ["nul\0", "\udcff"])
def test_a_word_that_cannot_be_written_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="cannot be written into a batch script"):
        script(["q", word])


@pytest.mark.parametrize("option", ["account", "comment=a b", "gres=gpu:2", "mail-user=a@b.c", "--exclusive"])
def test_options_of_sbatch_are_lines(option: str) -> None:
    name, equals, value = option.removeprefix("--").partition("=")
    line = f"#SBATCH --{name}{equals}" + (f'"{value}"' if " " in value else value)
    assert line in script(["q"], more=[option]).splitlines()


@pytest.mark.parametrize("option", ["a=1\nrm -rf x", 'comment="', "Bad=1", "=x", "a b=c", "comment=\\"])
def test_what_would_be_another_line_is_refused(option: str) -> None:
    with pytest.raises(UsageError):
        script(["q"], more=[option])


def test_the_warning_comes_in_time_for_the_ladder() -> None:
    assert warning_seconds(Ladder(10, 5, 2)) == 20
    assert "#SBATCH --signal=B:USR1@20" in script(["q"]).splitlines()


def test_the_command_prints_a_script_that_resumes(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("1\n")
    words = ["slurm", "agents.py:work", "--input", "in.jsonl", "--workers", "3", "--grace", "40", "--time", "2:00:00"]
    done = run_cli(*words, "--partition", "long", "--sbatch", "account=me", cwd=tmp_path)
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    for line in ("cpus-per-task=3", "time=2:00:00", "partition=long", "account=me", "signal=B:USR1@50", "requeue"):
        assert f"#SBATCH --{line}" in lines
    assert "#SBATCH --open-mode=append" in lines
    command = words_of(done.stdout, tmp_path)
    assert command[:2] == ["run", f"{tmp_path}/agents.py:work"]
    assert command[command.index("--run-id") + 1 :][:2] == ["in", "--or-resume"]
    assert command[command.index("--journal") + 1] == f"{tmp_path}/in.db"
    assert command[-2:] == ["--slurm-requeue", "20"]


def test_an_array_has_a_run_an_input_and_a_journal_for_each_task(tmp_path: Path) -> None:
    words = ["slurm", "m:f", "--input", "part-%a.jsonl", "--array", "0-9%2", "--workers", "1"]
    done = run_cli(*words, cwd=tmp_path)
    assert done.returncode == 0, done
    command = words_of(done.stdout, tmp_path, "7")
    assert command[command.index("--input") + 1] == f"{tmp_path}/part-7.jsonl"
    assert command[command.index("--run-id") + 1] == "part-7"
    assert command[command.index("--journal") + 1] == f"{tmp_path}/part-7.db"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--array", "0-9"], "every task of the array would have the same input"),
        (["--array", "all"], "give indexes"),
        (["--sbatch", "Account me"], "is no option of sbatch"),
        (["--workers", "0"], "must be at least 1"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, options: list[str], problem: str) -> None:
    done = run_cli("slurm", "m:f", "--input", "x.jsonl", *options, cwd=tmp_path)
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == 1
    assert problem in done.stderr
