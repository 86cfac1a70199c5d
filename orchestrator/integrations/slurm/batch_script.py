"""Render a batch script of Slurm for a run: it is warned in time, requeued, and resumed. Pure.

docs/slurm.md gives the reason for each line.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.core.ladder import Ladder
from orchestrator.core.stop_budget import describe_rungs
from runtime.errors import UsageError
from runtime.reasons import escape_surrogates
from runtime.stop_limits import HOST_MARGIN

ARRAY_TASK: Final = "%a"
"""Stands for the number of a task of an array in a word, as in the names of Slurm's own files."""

_ARRAY_VARIABLE: Final = "${SLURM_ARRAY_TASK_ID}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchScript:
    """Description of a batch script. `time`, `partition`, `memory`, `array`: as sbatch(1) has them; None: not given.

    `command`: the words of `quiesce run`, in which ARRAY_TASK stands for the array task's number. `more`: other options
    of sbatch, without the dashes.
    """

    name: str
    command: Sequence[str]
    ladder: Ladder
    workers: int
    directory: str
    time: str | None = None
    partition: str | None = None
    memory: str | None = None
    array: str | None = None
    more: Sequence[str] = ()


def warning_seconds(ladder: Ladder) -> int:
    """Return how many seconds before the time limit Slurm is to warn."""
    return math.ceil(ladder.total + HOST_MARGIN)


def render(script: BatchScript) -> str:
    """Return the text of the script. Raises UsageError for a value that Slurm would read as another one."""
    given = {"time": script.time, "partition": script.partition, "mem": script.memory, "array": script.array}
    options = [
        f"job-name={script.name}",
        f"chdir={script.directory}",
        "ntasks=1",
        f"cpus-per-task={script.workers}",
        *(f"{name}={value}" for name, value in given.items() if value is not None),
        *script.more,
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            *(_directive(option) for option in options),
            f"# {describe_rungs(script.ladder)}",
            _directive(f"signal=B:USR1@{warning_seconds(script.ladder)}"),
            "# a job that is preempted, or that quiesce requeues, starts again with the same id, and resumes the run",
            _directive("requeue"),
            _directive("open-mode=append"),
            "",
            "# exec: Slurm warns the process of this script, and that is quiesce then",
            f"exec {command_line(script.command, has_array=script.array is not None)}",
            "",
        ]
    )


def command_line(words: Sequence[str], *, has_array: bool) -> str:
    """Quote words for the shell. In a job array, ARRAY_TASK becomes the variable. Raises UsageError for NUL."""
    return " ".join(_quote(word, has_array=has_array) for word in words)


def _quote(word: str, *, has_array: bool) -> str:
    if escape_surrogates(word) != word or "\0" in word:
        raise UsageError(f"{word!r} cannot be written into a batch script: it is not text in UTF-8 without NUL")
    if not has_array or ARRAY_TASK not in word:
        return shlex.quote(word)
    parts = (shlex.quote(part) if part else "" for part in word.split(ARRAY_TASK))
    return f'"{_ARRAY_VARIABLE}"'.join(parts)


def _directive(option: str) -> str:
    """Return the line of an option. A value is quoted where sbatch would split it."""
    name, equals, value = option.lstrip("-").partition("=")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise UsageError(f"{option!r} is no option of sbatch: write NAME=VALUE, like account=me")
    if not value.isprintable() or escape_surrogates(value) != value or '"' in value or "\\" in value:
        raise UsageError(f"{option!r} cannot be written into a batch script: it has characters that sbatch cannot read")
    plain = re.fullmatch(r"[\w@%+=:,./\[\]{}~^-]*", value, re.ASCII)
    return f"#SBATCH --{name}{equals}{value if plain else chr(34) + value + chr(34)}"
