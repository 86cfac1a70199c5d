"""Do in an empty folder what a document says: write its files, type its commands, compare what they print.

- A block behind a line that ends with a file's name and a colon is that file.
- A block of the language `console` is a session: `$ COMMAND`, and lines that it prints among others. Numbers, run ids
  and folders may differ, and `…` stands for anything. `^C` among the lines is a Ctrl-C, once the first task of the
  run has its result.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from orchestrator.journal import DEFAULT_JOURNAL, open_journal
from tests.support.cli import Running
from tests.support.wait import wait_until

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./-]+\.\w+)`[^`]*:$")
VARIABLE = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}|\S*/(?=[\w.-]+$)|\d+(?:\.\d+)?|…")
INTERRUPT = "^C"
ATTEMPTS = 10
"""How often a run is started that is over before it could be interrupted, because the machine is busy."""


@dataclass
class Command:
    """A command of a session, and what the document says that it prints."""

    line: str
    prints: list[str] = field(default_factory=list)

    @property
    def is_interrupted(self) -> bool:
        """Whether the document stops it by Ctrl-C."""
        return INTERRUPT in self.prints


def follow(text: str, folder: Path) -> list[Command]:
    """Do what a document says, in `folder`. Return the commands that were compared."""
    commands = []
    for name, language, body in read_blocks(text):
        if language == "console":
            for command in read_session(body):
                check(command, folder)
                commands.append(command)
        elif name:
            (folder / name).write_text(body)
    return commands


def read_blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Return the blocks of a document: the name of the file that each is, or "", its language, and its text."""
    for block in BLOCK.finditer(text):
        named = FILE.search(text[: block.start()].rstrip())
        yield named[1] if named else "", block[1], block[2]


def read_session(body: str) -> list[Command]:
    """Return the commands of a block, with the lines that follow each."""
    commands: list[Command] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line.removeprefix("$ ")))
        elif line:
            commands[-1].prints.append(line)
    return commands


def check(command: Command, folder: Path) -> None:
    """Run a command. Raises AssertionError if it does not print each line that the document says."""
    printed = run_interrupted(command.line, folder) if command.is_interrupted else run(command.line, folder)
    lines = printed.splitlines()
    for expected in command.prints:
        if expected != INTERRUPT:
            pattern = re.compile(pattern_of(expected))
            assert any(pattern.fullmatch(line) for line in lines), f"{command.line}\n{expected}\nnot in:\n{printed}"


def pattern_of(expected: str) -> str:
    """Return the pattern of the lines that are like the document's."""
    parts, end = [], 0
    for found in VARIABLE.finditer(expected):
        parts += [re.escape(expected[end : found.start()]), _replacement(found[0])]
        end = found.end()
    return "".join([*parts, re.escape(expected[end:])]) + r"\s*"


def _replacement(text: str) -> str:
    if text == "…":
        return ".*"
    return r"\d+(?:\.\d+)?" if re.fullmatch(r"[\d.]+", text) else r"\S*"


def start(line: str, folder: Path) -> Running:
    """Type a line into a shell, in a process group of its own, as a terminal would run it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return Running(["bash", "-c", line], cwd=folder, env={"PATH": path, "PYTHONPATH": ""})


def run(line: str, folder: Path) -> str:
    """Run a command to its end. Return what it prints. A run with tasks that fail exits with 1, which is no error."""
    with start(line, folder) as running:
        done = running.wait()
    assert done.returncode in (0, 1), done
    return done.stdout + done.stderr


def run_interrupted(line: str, folder: Path) -> str:
    """Run a command, and stop it by Ctrl-C when a task of its run has a result. Return what it prints."""
    for _ in range(ATTEMPTS):
        before = count_runs(folder)
        with start(line, folder) as running:
            wait_until(partial(is_under_way, running, folder, before), 60.0, line)
            running.send_group(signal.SIGINT)
            done = running.wait()
        if done.signal is signal.SIGINT:
            return done.stdout + done.stderr
        assert done.returncode == 0, done
    raise AssertionError(f"{line}: over before it could be interrupted, {ATTEMPTS} times")


def is_under_way(running: Running, folder: Path, before: int) -> bool:
    """Return whether a new run has a result, or the command has ended."""
    return running.popen.poll() is not None or (count_runs(folder) > before and count_results(folder) > 0)


def count_runs(folder: Path) -> int:
    """Return how many runs the journal of a folder has."""
    if not (folder / DEFAULT_JOURNAL).exists():
        return 0
    with open_journal(folder / DEFAULT_JOURNAL, "read") as journal:
        return len(journal.runs())


def count_results(folder: Path) -> int:
    """Return how many tasks of the latest run are completed."""
    with open_journal(folder / DEFAULT_JOURNAL, "read") as journal:
        return journal.counts(journal.get_run(None).id).completed
