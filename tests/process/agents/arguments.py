"""Agents with arguments beside their input and state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from runtime import ExecutionState, agent


class Database(BaseModel):
    """A part of the settings."""

    host: str = "localhost"
    port: int = 5432


class Settings(BaseModel):
    """The settings of an agent."""

    model: str
    threshold: float = Field(default=0.5, ge=0, le=1)
    database: Database = Database()


@contextmanager
def loaded(model: str = "small", unknown: int = 0) -> Iterator[str]:
    """Yield what is made of the agent's own argument."""
    yield f"{model} model"


@agent(lifespan=loaded)
def plain(
    task_input: Any, state: ExecutionState, *, model: str = "tiny", threshold: float = 0.5, path: Path | None = None
) -> list[Any]:
    """Return all of it."""
    return [model, threshold, None if path is None else type(path).__name__, state.resource]


async def configured(task_input: Any, state: ExecutionState, *, settings: Settings) -> dict[str, Any]:
    """Return the settings."""
    return settings.model_dump()


def required(task_input: Any, state: ExecutionState, *, level: int) -> int:
    """Return the argument."""
    return level


def stops_at_three(task_input: Any, state: ExecutionState, *, factor: int = 1) -> int:
    """Interrupt the run at its first attempt of 3."""
    if task_input == 3 and state.snapshot is None:
        state.save_snapshot("seen")
        state.request_interrupt(message="enough")
        state.raise_if_interrupted()
    return factor * int(task_input)
