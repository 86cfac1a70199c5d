"""Agents that return what their state says of their task."""

from __future__ import annotations

import os
from typing import Any

from runtime import ExecutionState


def _facts(task_input: Any, state: ExecutionState) -> dict[str, Any]:
    return {
        "key": state.key,
        "attempt": state.attempt,
        "run_id": state.run_id,
        "slot": state.slot,
        "is_input": state.input is task_input,
    }


def fail_once(task_input: Any, state: ExecutionState) -> dict[str, Any]:
    """Fail at the first attempt."""
    if state.attempt == 1:
        raise RuntimeError("try again")
    return _facts(task_input, state)


async def afail_once(task_input: Any, state: ExecutionState) -> dict[str, Any]:
    """Fail at the first attempt."""
    return fail_once(task_input, state)


AT_IMPORT = os.environ.get("QM_DEVICE")


def device(task_input: Any, state: ExecutionState) -> list[Any]:
    """Return the slot, and its device when this module was imported and now."""
    return [state.slot, AT_IMPORT, os.environ.get("QM_DEVICE"), os.environ.get("QM_PORT")]
