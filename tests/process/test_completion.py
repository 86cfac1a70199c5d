"""Shells complete runs, keys and agents, by the script that `--show-completion` prints."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.process.helpers import jsonl
from tests.support.cli import QUIESCE, Running, environment, run_cli

AGENTS = """
def work(task_input, state):
    return task_input


async def wait(task_input):
    return task_input


def helper():
    pass


def _private(task_input):
    pass


raise RuntimeError("completion imports nothing")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a journal of two runs, and with a file of agents that cannot be imported."""
    folder = tmp_path_factory.mktemp("completion")
    agent = folder / "double.py"
    agent.write_text("def double(task_input, state):\n    return task_input\n")
    tasks = {"alpha-1": [{"key": "a:b"}, {"key": "beta"}, {"key": "has space"}], "alpha-2": [{"key": "latest"}]}
    for run_id, inputs in tasks.items():
        source = jsonl(folder / "in.jsonl", inputs)
        done = run_cli(
            "run", f"{agent}:double", "-i", source, "-j", folder / "quiesce.db", "-w", "1", "--run-id", run_id
        )
        assert done.returncode == 0, done
    agent.unlink()
    (folder / "agents.py").write_text(AGENTS)
    return folder


def complete(folder: Path, *words: str, shell: str = "bash") -> list[str]:
    """What a shell is answered for these words, the last of which is incomplete. Fails unless there is no error."""
    env = {k: v for k, v in environment().items() if k != "QUIESCE_JOURNAL"} | {
        "_QUIESCE_COMPLETE": f"complete_{shell}"
    }
    env |= {"COMP_WORDS": "\n".join(["quiesce", *words]), "COMP_CWORD": str(len(words))}
    with Running([*QUIESCE], cwd=folder, env=env) as running:
        done = running.wait()
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["status", "al"], ["alpha-2", "alpha-1"]),
        (["resume", "zeta"], []),
        (["show", "alpha-1", ""], ["a:b", "beta"]),
        (["show", "alpha-1", "a", ":"], ["b"]),
        (["events", "alpha-1", "--key", "b"], ["beta"]),
        (["events", "--key", ""], ["latest"]),
        (["run", ""], ["agents.py:work", "agents.py:wait"]),
        (["run", "agents.py", ":", "wo"], ["work"]),
        (["run", "agents", ":"], ["work", "wait"]),
        (["run", "none.py", ":"], []),
        (["status", "--color", "a"], ["auto", "always"]),
        (["status", "-j", "none.db", ""], []),
        (["status", "-j", "agents.py", ""], []),
        (["status", "-j", "postgresql://db/x", ""], []),
    ],
)
def test_words_are_completed_and_nothing_fails(folder: Path, words: list[str], answer: list[str]) -> None:
    before = sorted(os.listdir(folder))
    assert complete(folder, *words) == answer
    assert sorted(os.listdir(folder)) == before


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_by_the_script_that_is_printed(folder: Path) -> None:
    program = folder / "bin"
    program.mkdir()
    (program / "quiesce").write_text("#!/bin/sh\nexec " + " ".join(map(str, QUIESCE)) + ' "$@"\n')
    (program / "quiesce").chmod(0o755)
    script = (
        'eval "$(_QUIESCE_COMPLETE=source_bash quiesce)"\n'
        "COMP_WORDS=(quiesce run agents.py : wo); COMP_CWORD=4; _quiesce_completion quiesce; echo ${COMPREPLY[*]}\n"
        "COMP_WORDS=(quiesce status alpha-1); COMP_CWORD=2; _quiesce_completion quiesce; echo ${COMPREPLY[*]}\n"
    )
    env = environment({"PATH": f"{program}{os.pathsep}{os.environ['PATH']}"})
    with Running(["bash", "--norc", "-c", script], cwd=folder, env=env) as running:
        done = running.wait()
    assert done.stdout.splitlines() == ["work", "alpha-1"], done
    shutil.rmtree(program)
