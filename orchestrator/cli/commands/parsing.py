"""Find the command, and its lists of inputs, among the words of a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from orchestrator.cli.declare import Context
from orchestrator.cpus import usable_cpus
from runtime.errors import UsageError
from runtime.limits import MAX_SLOTS

SEPARATOR: Final = "--"
KEY: Final = "quiesce.command"
_LISTS: Final = frozenset({":::", ":::+", "::::", "::::+"})
_JOBS: Final = re.compile(r"([+-]?)(\d+)(%?)")


class InputList(NamedTuple):
    """One list of inputs behind `:::` (words) or `::::` (names of files).

    `linked`: element by element with the list before it.
    """

    words: Sequence[str]
    from_files: bool = False
    linked: bool = False


class CommandWordsGiven(NamedTuple):
    """What stands behind `--`: the words of the command, and its lists of inputs."""

    words: Sequence[str]
    lists: Sequence[InputList] = ()


def given_command(context: Context) -> CommandWordsGiven | None:
    """Return the command behind `--`; None if there was no `--`."""
    found = context.meta.get(KEY)
    return found if isinstance(found, CommandWordsGiven) else None


def dashed_run_id(command: CommandWordsGiven | None) -> str | None:
    """Return the single word behind `--` if it begins with a dash: a run's id there, because no command is named so."""
    if command is None or command.lists or len(command.words) != 1 or not command.words[0].startswith("-"):
        return None
    return command.words[0]


def split_command(words: Sequence[str]) -> CommandWordsGiven:
    """Return the command, and the lists behind it: GNU parallel's `:::` and `::::`, with `+` for a linked one."""
    starts = [number for number, word in enumerate(words) if word in _LISTS]
    ends = [*starts[1:], len(words)] if starts else []
    lists = [
        InputList(words[start + 1 : end], "::::" in words[start], words[start].endswith("+"))
        for start, end in zip(starts, ends, strict=True)
    ]
    return CommandWordsGiven(list(words[: starts[0]] if starts else words), lists)


def with_jobs(args: Sequence[str]) -> list[str]:
    """Return options with `--workers N` for GNU parallel's `-j N` and `--jobs N`. A `-j` with a path is a journal's."""
    found: list[str] = []
    rest = iter(args)
    for word in rest:
        name, given = (word[:2], word[2:]) if word.startswith("-j") else word.partition("=")[::2]
        if name not in ("-j", "--jobs"):
            found.append(word)
            continue
        value = given or next(rest, "")
        number = number_of_jobs(value)
        if number is None and name == "--jobs":
            raise UsageError(f"--jobs {value}: give a number, +N, -N or P%, as to GNU parallel's -j")
        found += ["--journal", value] if number is None else ["--workers", str(number)]
    return found


def number_of_jobs(text: str) -> int | None:
    """Return how many commands at once GNU parallel's -j stands for; None for what is none. 0: as many as possible."""
    found = _JOBS.fullmatch(text)
    if found is None:
        return None
    cpus, number = usable_cpus(), int(found[2])
    if found[3]:
        number = round(cpus * number / 100)
    if found[1]:
        return max(1, cpus + (number if found[1] == "+" else -number))
    return min(number, MAX_SLOTS) if number else (1 if found[3] else MAX_SLOTS)
