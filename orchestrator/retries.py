"""Runs that retry what failed in another one: which tasks they get, and what the whole family says of a task.

A terminal outcome never changes. So a retry is a run of its own, a child of the run that it retries, with the same
keys and inputs; a child can be retried, too. Executes nothing of a user's, except `failed_inputs`, which decodes inputs
in the program that asks for them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from os import PathLike
from typing import Any, Final

from orchestrator.core.records import TERMINAL, NewTask, PendingTask, TaskOutcome
from orchestrator.failures import cause_of
from orchestrator.hints import resumption
from orchestrator.journal import Journal, RunRecord, open_journal
from runtime.errors import QuiesceError, UsageError
from runtime.ipc import codec
from runtime.statuses import ExecutionStatus

BATCH: Final = 500
"""Tasks that are looked up at once."""


def find_parent(journal: Journal, run_id: str) -> RunRecord:
    """Return a run that is to be retried. If there is none, close the journal and raise UsageError."""
    try:
        return journal.get_run(run_id)
    except QuiesceError:
        journal.close()
        raise


def select_failed(
    journal: Journal, run: RunRecord, *, keys: Collection[str] | None = None, where: str | None = None
) -> list[str]:
    """Return the keys of the tasks that failed, in the order of the input, and that no retry has completed since.

    keys: only these. where: only those whose error, or cause as `quiesce failures` shows it, has a match of this
    regular expression.

    Raises UsageError if a retry is not over, if a key has not failed, or if the expression is none.
    """
    pattern = _compile(where)
    children = journal.retries(run.id)
    for child in children:
        if not child.ended:
            raise UsageError(
                f"run {child.run_id}, which retries run {run.run_id}, is not over: to resume it: "
                f"{resumption(child, journal.location)}"
            )
    completed = {
        outcome.key for child in children for outcome in journal.results(child.id, [ExecutionStatus.COMPLETED])
    }
    wanted = None if keys is None else set(keys)
    selected = [
        outcome.key
        for outcome in journal.results(run.id, [ExecutionStatus.FAILED])
        if (wanted is None or outcome.key in wanted)
        and outcome.key not in completed
        and (pattern is None or _matches(pattern, outcome, run.cwd))
    ]
    if pattern is None:
        _refuse_others(journal, run, (wanted or set()).difference(selected))
    return selected


def failed_tasks(journal: Journal, run: RunRecord, keys: Sequence[str]) -> Iterator[PendingTask]:
    """Yield the tasks with these keys, in this order."""
    for at in range(0, len(keys), BATCH):
        batch = keys[at : at + BATCH]
        stored = journal.look_up(run.id, batch)
        yield from (stored[key].task for key in batch)


def renew(task: PendingTask) -> NewTask:
    """Return a task for a run that retries it: at the same place of the input, and without attempts."""
    return NewTask(task.key, task.input, task.encoding, task.priority, task.seq, task.agent)


def merged_results(
    journal: Journal, run: RunRecord, statuses: Collection[ExecutionStatus] | None = None
) -> Iterator[TaskOutcome]:
    """Yield the outcome of each task in the order of the input: its latest success in the family, else its latest end.

    statuses: only outcomes of these.
    """
    best: dict[str, tuple[bool, int]] = {}
    for child in journal.retries(run.id):
        for outcome in journal.results(child.id, TERMINAL):
            if outcome.ok or not best.get(outcome.key, (False, 0))[0]:
                best[outcome.key] = outcome.ok, child.id
    outcomes = journal.results(run.id)
    while batch := list(islice(outcomes, BATCH)):
        replaced = _look_up_best(journal, best, batch)
        for outcome in batch:
            result = outcome if outcome.ok else replaced.get(outcome.key, outcome)
            if statuses is None or result.status in statuses:
                yield result


def _look_up_best(
    journal: Journal, best: dict[str, tuple[bool, int]], outcomes: Sequence[TaskOutcome]
) -> dict[str, TaskOutcome]:
    """Return the outcomes of retries that stand for some of these."""
    by_run: dict[int, list[str]] = {}
    for outcome in outcomes:
        if outcome.key in best:
            by_run.setdefault(best[outcome.key][1], []).append(outcome.key)
    return {
        key: stored.outcome
        for run, keys in by_run.items()
        for key, stored in journal.look_up(run, keys).items()
        if stored.outcome is not None
    }


def _compile(where: str | None) -> re.Pattern[str] | None:
    try:
        return None if where is None else re.compile(where, re.MULTILINE)
    except re.error as error:
        raise UsageError(f"{where!r} is not a regular expression: {error}") from None


def _matches(pattern: re.Pattern[str], outcome: TaskOutcome, folder: str) -> bool:
    return pattern.search(outcome.error or "") is not None or pattern.search(cause_of(outcome).text(folder)) is not None


def _refuse_others(journal: Journal, run: RunRecord, keys: Collection[str]) -> None:
    """Raise UsageError for a key that was asked for and has not failed."""
    if not keys:
        return
    key = min(keys)
    stored = journal.look_up(run.id, [key]).get(key)
    if stored is None:
        raise UsageError(f"run {run.run_id} has no task {key!r}")
    status = "not ended" if stored.outcome is None else stored.outcome.status.value
    status = "been completed by a retry" if status == ExecutionStatus.FAILED else status
    raise UsageError(f"task {key!r} of run {run.run_id} has {status}: only tasks that have failed are retried")


# -- for programs ------------------------------------------------------------------------------------------


def failed_inputs(
    journal: str | PathLike[str], run_id: str, *, keys: Collection[str] | None = None, where: str | None = None
) -> dict[str, Any]:
    """Return the inputs of the tasks of a run that failed, by key; `select_failed` says which.

    To retry them from Python: `Supervisor(journal=…, retry_of=run_id).map(agent, inputs.values(), keys=inputs.keys())`.
    """
    with open_journal(journal, "read") as opened:
        run = opened.get_run(run_id)
        selected = select_failed(opened, run, keys=keys, where=where)
        return {
            task.key: codec.decode(task.input, task.encoding)  # noqa: TID251 - in the program's process, its own input
            for task in failed_tasks(opened, run, selected)
        }
