"""Find the calls that an earlier start of the program has made. Compares them in the program's own process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.core.records import NewTask, PendingTask, StoredTask
from orchestrator.equality import are_equal
from orchestrator.futures.call_keys import function_name
from orchestrator.identity import RunMismatchError
from orchestrator.run_session import RunSession
from runtime.ipc.codec import decode
from runtime.statuses import ExecutionStatus


def find_stored(
    session: RunSession, tasks: Sequence[NewTask], *, compares: bool
) -> tuple[dict[str, StoredTask], dict[str, str]]:
    """Return what the run has of these calls, and the key of each by the key that it has now.

    A call that failed at an earlier start is made again, under a key of its own: an outcome never changes.
    `compares`: the keys are the program's own. Raises RunMismatchError if a call of the same key is another one.
    """
    known: dict[str, StoredTask] = {}
    keys = {task.key: task.key for task in tasks}
    given = {task.key: task for task in tasks}
    open_keys, times = list(keys), 0
    while open_keys:
        stored = session.look_up([keys[key] for key in open_keys])
        times += 1
        failed: list[str] = []
        for key in open_keys:
            found = stored.get(keys[key])
            if found is None:
                continue
            if compares:
                _check(session.run_id, given[key], found.task)
            if found.outcome is not None and found.outcome.status is ExecutionStatus.FAILED:
                keys[key] = f"{key} (again {times})"
                failed.append(key)
            else:
                known[keys[key]] = found
        open_keys = failed
    return known, keys


def _check(run_id: str, given: NewTask, stored: PendingTask) -> None:
    """Raise RunMismatchError if the stored call has another function or other arguments."""
    try:
        (function, args, kwargs), (function_then, *then) = _read(given), _read(stored)
        is_same = function_name(function) == function_name(function_then) and are_equal([args, kwargs], then)
    except Exception:  # noqa: BLE001 - a class that has gone since: what cannot be read is not the same
        is_same = False
    if not is_same:
        raise RunMismatchError(
            f"run {run_id}: the call of the key {given.key!r:.80} is not the one that it was begun with; let `key` "
            "name calls with other arguments differently, or choose another run_id"
        )


def _read(task: NewTask | PendingTask) -> Any:
    return decode(task.input, task.encoding)
