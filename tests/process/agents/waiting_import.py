"""Takes as long to load as the test likes."""

from __future__ import annotations

import os
from typing import Any

from runtime import ExecutionState
from tests.support.sync import wait_for_gate

print("this module waits")
wait_for_gate(os.environ["QM_GATE"])


def quick(task: Any, state: ExecutionState) -> Any:
    """The input."""
    return task
