"""The commands that are printed for people to type next. Pure.

Every one of them works as it stands, from any directory: tests/process/test_printed_hints.py runs each.
"""

from __future__ import annotations

from typing import Any, Protocol

from runtime.text import shell_word


class HintedRun(Protocol):
    """What a hint needs of a run."""

    @property
    def run_id(self) -> str:
        """Return its id."""
        ...

    @property
    def agent(self) -> Any:
        """Return what its journal names as the agent."""
        ...


def command(name: str, run_id: str, journal: str, *options: str) -> str:
    """Return a command on one run, quoted for a shell."""
    if run_id.startswith("-"):
        return _join("quiesce", name, "--journal", journal, *options, "--", run_id)
    return _join("quiesce", name, run_id, "--journal", journal, *options)


def _join(*words: str) -> str:
    return " ".join(map(shell_word, words))


def is_of_program(run: HintedRun) -> bool:
    """Whether a run was started from Python, whose agents and inputs only its program has."""
    return not (isinstance(run.agent, dict) and isinstance(run.agent.get("agent"), str))


def resumption(run: HintedRun, journal: str) -> str:
    """Return how to go on with a run: a command, or what to do with the program that began it."""
    if is_of_program(run):
        return f"start its program again, with Supervisor(journal={journal!r}, run_id={run.run_id!r})"
    return command("resume", run.run_id, journal)
