"""Shells complete runs, keys and agents, by the script that `--show-completion` prints."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.process.helpers import jsonl
from tests.support.cli import QUIESCE, Running, environment, run_cli
from tests.support.tmux import Terminal

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


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which the command `quiesce` is this checkout's."""
    program = tmp_path / "bin"
    program.mkdir()
    (program / "quiesce").write_text("#!/bin/sh\nexec " + " ".join(map(str, QUIESCE)) + ' "$@"\n')
    (program / "quiesce").chmod(0o755)
    return f"{program}{os.pathsep}{os.environ['PATH']}"


def need(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")


def test_bash_completes_by_the_script_that_is_printed(folder: Path, path: str) -> None:
    need("bash")
    script = (
        'eval "$(_QUIESCE_COMPLETE=source_bash quiesce)"\n'
        "COMP_WORDS=(quiesce run agents.py : wo); COMP_CWORD=4; _quiesce_completion quiesce; echo ${COMPREPLY[*]}\n"
        "COMP_WORDS=(quiesce status alpha-1); COMP_CWORD=2; _quiesce_completion quiesce; echo ${COMPREPLY[*]}\n"
    )
    with Running(["bash", "--norc", "-c", script], cwd=folder, env=environment({"PATH": path})) as running:
        done = running.wait()
    assert done.stdout.splitlines() == ["work", "alpha-1"], done


def test_fish_completes_by_the_script_that_is_printed(folder: Path, path: str, tmp_path: Path) -> None:
    """Also the names of files, where nothing of ours is to be completed."""
    need("fish")
    asked = {
        "status al": ["alpha-1", "alpha-2"],
        "show alpha-1 a:": ["a:b"],
        "run agents.py:wo": ["agents.py:work"],
        "run agents.py:work --input in": ["in.jsonl"],
        "status --color a": ["always", "auto"],
        "-q resum": ["resume"],
    }
    script = "_QUIESCE_COMPLETE=source_fish quiesce | source\n"
    script += "".join(f"echo '?'\ncomplete -C 'quiesce {words}'\n" for words in asked)
    env = environment({"PATH": path, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)})
    with Running(["fish", "--no-config", "-c", script], cwd=folder, env=env) as running:
        done = running.wait()
    found = [[line.partition("\t")[0] for line in part.splitlines()] for part in done.stdout.split("?\n")[1:]]
    assert found == list(asked.values()), done


def test_zsh_completes_by_the_script_that_is_printed(folder: Path, path: str, tmp_path: Path) -> None:
    """It completes in its line editor only: keys are pressed in a terminal."""
    need("zsh")
    env = {"PATH": path, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
    (tmp_path / "set-up").write_text(
        f"PS1='zsh> '\nautoload -Uz compinit; compinit -u -d {tmp_path}/dump\n"
        'eval "$(_QUIESCE_COMPLETE=source_zsh quiesce)"\nclear\n'
    )
    with Terminal(cwd=folder, env=env) as terminal:
        terminal.run("zsh -f")
        terminal.run(f". {tmp_path}/set-up")
        terminal.expect(r"\Azsh>$", deadline=60, history=False)
        for typed, completed in {
            "quiesce run agents.py:wo": "quiesce run agents.py:work",
            "quiesce show alpha-1 be": "quiesce show alpha-1 beta",
            "quiesce status al": "quiesce status alpha-",
            "quiesce run agents.py:work --input in": "quiesce run agents.py:work --input in.jsonl",
            "quiesce resum": "quiesce resume",
        }.items():
            terminal.write(typed)
            terminal.press("Tab")
            terminal.expect(rf"^zsh> {re.escape(completed)} *$", deadline=60, history=False)
            terminal.press("C-u", "C-l")
            terminal.expect(r"\Azsh>$", deadline=60, history=False)
