"""Takes as long to load as the test likes."""

from __future__ import annotations

import os
from typing import Any

from runtime import ExecutionState
from tests.support.sync import pass_latch

print("this module waits")
pass_latch(os.environ["QM_LATCH"])


def quick(task: Any, state: ExecutionState) -> Any:
    """The input."""
    return task
