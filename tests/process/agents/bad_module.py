"""Not agents. What each is good for is in its name."""

from collections.abc import Iterator
from typing import Any

number = 7


class Class:
    """A class is not an agent."""


def none() -> None:
    """Takes nothing."""


def keyword(task: Any, *, model: str) -> None:
    """Takes what no executor gives."""


def three(task: Any, state: Any, more: Any) -> None:
    """Wants too much."""


def generator(task: Any, state: Any) -> Iterator[Any]:
    """Yields."""
    yield task
