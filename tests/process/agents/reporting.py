"""Agents whose progress a test watches. They wait for a gate, so that what is shown stays until it was seen."""

from __future__ import annotations

import os
from typing import Any

from runtime import ExecutionState
from tests.support.sync import is_open, wait_for_gate

if "QM_SLOW_IMPORT" in os.environ:
    wait_for_gate(os.environ["QM_SLOW_IMPORT"])


def work(task: dict[str, Any], state: ExecutionState) -> str:
    """Report `done` of `total`, if the task has them; fail, or wait for a gate, if it says so."""
    if "done" in task:
        state.progress(task["done"], task.get("total"))
    if "error" in task:
        raise ValueError(task["error"])
    if "deaf" in task:  # to an interrupt: there is no checkpoint
        wait_for_gate(task["deaf"])
    while "gate" in task and not is_open(task["gate"]):
        state.sleep(0.01)
    return str(task["key"])
