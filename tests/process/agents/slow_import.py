"""A module that computes while it is imported, without giving the interpreter's lock away."""

from __future__ import annotations

from typing import Any

from runtime import ExecutionState
from tests.process.agents.busy import compute

compute(8.0)


def agent(task: Any, state: ExecutionState) -> str:
    """Done at once."""
    return "loaded"
