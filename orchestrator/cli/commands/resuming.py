"""Compare what is given with what a run of commands was begun with: the command, and the inputs by their keys."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orchestrator.cli.inputs.input_set import InputSet, batched
from orchestrator.core.records import NewTask
from orchestrator.identity import Comparison, RunMismatchError, shorten
from orchestrator.journal import Journal, RunRecord
from runtime.command.spec import CommandSpec, from_arguments
from runtime.command.words import show_words
from runtime.errors import UsageError
from runtime.text import single_line


def recorded_spec(run: RunRecord) -> CommandSpec:
    """Return the command of a run. Raises UsageError if the journal has none that can be read."""
    try:
        return from_arguments(run.agent["args"])
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"the command of run {run.run_id} is damaged in the journal") from None


def check_command(run: RunRecord, given: CommandSpec, advice: str) -> None:
    """Raise RunMismatchError if a run was begun with another command."""
    stored = recorded_spec(run)
    if given.words != stored.words:
        now, then = shorten(show_words(given.words), show_words(stored.words))
        _refuse(run, f"the command {then}", f"it is {now} now", advice)
    if given.shell != stored.shell:
        _refuse(run, f"the command {'' if stored.shell else 'not '}in a shell", "--shell says otherwise now", advice)
    if given.stdin != stored.stdin:
        then, now = (
            "standard input /dev/null" if field is None else f"the field {field!r} as standard input"
            for field in (stored.stdin, given.stdin)
        )
        _refuse(run, then, f"it is {now} now", advice)


def new_tasks(run: RunRecord, journal: Journal, inputs: InputSet, advice: str) -> list[NewTask]:
    """Return the tasks of an input that a run does not have, wherever they stand. The run's last number goes on.

    Raises RunMismatchError for a key whose input has changed, and for a task that has not ended and is not there any
    more: whether it is still wanted is not known.
    """
    comparison = Comparison(
        run.run_id, may_decode=False, place=lambda seq: f"the task of {inputs.place(seq)},", advice=advice
    )
    seen: set[int] = set()
    new: list[NewTask] = []
    for batch in batched(inputs.tasks()):
        known = journal.look_up(run.id, [task.key for task in batch])
        for task in batch:
            stored = known.get(task.key)
            if stored is None:
                new.append(msgspec.structs.replace(task, seq=0))
            else:
                comparison.check(task, stored.task)
                seen.add(stored.task.seq)
    for missing in _missing(run, journal, seen):
        key = single_line(repr(missing), 100)
        raise RunMismatchError(f"run {run.run_id} has the input {key}, which is not among the inputs now; {advice}")
    if new and run.ended:
        key = single_line(repr(new[0].key), 100)
        raise RunMismatchError(
            f"run {run.run_id} is over, and takes no new inputs such as {key}; choose another --run-id"
        )
    return new


def _missing(run: RunRecord, journal: Journal, seen: set[int]) -> Iterator[str]:
    """Yield the keys of tasks that have not ended and were not seen."""
    after = 0
    while page := journal.pending(run.id, after):
        yield from (task.key for task in page if task.seq not in seen)
        after = page[-1].seq


def _refuse(run: RunRecord, then: str, now: str, advice: str) -> None:
    raise RunMismatchError(f"run {run.run_id} was begun with {then}, and {now}; {advice}")
