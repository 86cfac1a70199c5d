"""`quiesce slurm`: print a batch script for a run."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import run_command, stdout
from orchestrator.cli.exit import print_error
from orchestrator.cli.run_command import RunCommand
from orchestrator.integrations.slurm.batch_script import ARRAY_TASK, BatchScript, render
from orchestrator.journal import path_of
from runtime.errors import UsageError

REQUEUES = 20
"""How often a job starts again, where the command says nothing of it: an endless loop ends."""

NameOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="The name of the job. (default: the id of the run)")
]
TimeOption = Annotated[str | None, typer.Option(metavar="TIME", help="The job's time limit, like 30, 2:00:00 or 1-0.")]
PartitionOption = Annotated[str | None, typer.Option(metavar="NAMES", help="The partition.")]
MemoryOption = Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of the job, like 8G.")]
ArrayOption = Annotated[
    str | None,
    typer.Option(
        metavar="INDEXES", help="Print a job array, like 0-9%2: each task is a run, whose number is %a in an --input."
    ),
]
DirectoryOption = Annotated[str, typer.Option(help="Working directory of the job.")]
SbatchOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Another option of sbatch, like account=me. May be given more than once."),
]


def register(app: typer.Typer) -> None:
    """Add the command to an app. Options that it does not know are options of `run`."""
    app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(slurm)


def slurm(
    context: typer.Context,
    *,
    job_name: NameOption = None,
    time: TimeOption = None,
    partition: PartitionOption = None,
    mem: MemoryOption = None,
    array: ArrayOption = None,
    directory: DirectoryOption = ".",
    sbatch: SbatchOption = None,
) -> None:
    """Print a batch script for Slurm: `quiesce slurm AGENT --input FILE … >job.sh`, then `sbatch job.sh`.

    Give it the agent and the options of `run` as well. Slurm warns the run before its time limit; it stops within that
    time, and the job is requeued and resumes it.
    """
    command = run_command.parse(context.args, "quiesce slurm")
    if array is not None:
        command = _of_array(command, array)
    home = os.path.abspath(directory)
    words = command.argv(run_command.program(), _journal(command, home, array))
    if "slurm_requeue" not in command.given:
        words += ["--slurm-requeue", str(REQUEUES)]
    script = BatchScript(
        name=job_name or command.run_id.replace(ARRAY_TASK, "").strip("-_.") or "quiesce",
        command=words,
        ladder=command.settings.fit(command.settings.grace, command.settings.term_grace).wanted,
        workers=command.settings.workers,
        directory=home,
        time=time,
        partition=partition,
        memory=mem,
        array=array,
        more=sbatch or (),
    )
    stdout.print_all(render(script))


def _of_array(command: RunCommand, array: str) -> RunCommand:
    """Return the command with a run id of its own for each task. Raises UsageError if all would do the same."""
    if not re.fullmatch(r"[0-9,:%-]+", array):
        raise UsageError(f"--array {array}: give indexes, like 0-9, 1,3,5 or 0-99%4")
    if not any(ARRAY_TASK in source for source in command.sources):
        raise UsageError("--array: every task of the array would have the same input; write %a in an --input")
    given = command.given.get("run_id")
    if given is not None and ARRAY_TASK in given:
        return command
    stem = run_command.file_name((given or Path(command.sources[0]).stem).replace(ARRAY_TASK, ""))
    return replace(command, run_id=f"{stem}-{ARRAY_TASK}")


def _journal(command: RunCommand, directory: str, array: str | None) -> str:
    """Return the journal: the one that is given, else a file in the working directory, of its own for an array task."""
    given = command.journal
    if given is None:
        return os.path.join(directory, f"{command.run_id}.db")
    if (path := path_of(given)) is None:
        return given
    if array is not None and ARRAY_TASK not in path:
        print_error("quiesce: warning: the tasks of the array share a journal: on several nodes, write %a in it")
    return os.path.abspath(path)
