"""What the tests of the runtime share beyond `runtime.testing`."""

from __future__ import annotations

import asyncio
from typing import Any

from runtime.execution.state import ExecutionState


def state_in_loop(**options: Any) -> ExecutionState:
    """Return a state whose clock is the running loop's."""
    return ExecutionState(clock=asyncio.get_running_loop().time, **options)


async def settle(rounds: int = 5) -> None:
    """Let everything that is ready run."""
    for _ in range(rounds):
        await asyncio.sleep(0)
